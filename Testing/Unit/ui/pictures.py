"""Pictures for the documentation: views, charts and words on one sheet.

Views are drawn by Slicer's own classes. The application's plot widget is not among them, so a chart node is drawn by
what that widget is made of, VTK's chart.
"""

import numpy as np
import slicer
import vtk
from PIL import Image, ImageDraw, ImageFont
from vtk.util.numpy_support import vtk_to_numpy

MARGIN, LINE = 12, 24
INK, PAPER, ACCENT = (30, 34, 40), (255, 255, 255), (20, 90, 160)
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
NUM_COLORS = 200
"""Grey values and a few colours are all there is; a palette makes the files a third as large."""
MIN_CHROMA, MIN_LIKENESS = 25, 0.97
"""From which distance to grey a pixel has a hue, and from which cosine on two hues are one."""


def pixels_of(window):
    """What a window shows, (height, width, 3), row 0 on top."""
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    picture = grab.GetOutput()
    width, height, _ = picture.GetDimensions()
    return vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def zoom(view, factor, center_ras=None):
    """Look closer, at a place if one is given; the slice stays the same."""
    node = view.node
    if center_ras is not None:
        node.JumpSliceByCentering(*center_ras)
    width, height, depth = node.GetFieldOfView()
    node.SetFieldOfView(width / factor, height / factor, depth)


def picture_of_view(view, words="", has_letters=True):
    """A slice view with the letters of its directions and a few words."""
    image = Image.fromarray(pixels_of(view.window))
    draw, (width, height) = ImageDraw.Draw(image), image.size
    if has_letters:
        axes = view.node.GetSliceToRAS()
        left, up = (_letter([axes.GetElement(row, column) for row in range(3)]) for column in (0, 1))
        _write(draw, (8, height / 2), left[0], "lm")
        _write(draw, (width / 2, 6), up[1], "mt")
    _write(draw, (8, height - 8), words, "lb")
    return image


def picture_of_chart(chart, size):
    """A chart node as VTK draws it, with all its series."""
    view, plot = vtk.vtkContextView(), vtk.vtkChartXY()
    view.GetRenderWindow().SetOffScreenRendering(1)
    view.GetRenderWindow().SetSize(*size)
    view.GetRenderer().SetBackground(1, 1, 1)
    view.GetScene().AddItem(plot)
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        _add_plot(plot, chart.GetNthPlotSeriesNode(index))
    plot.SetShowLegend(chart.GetLegendVisibility())
    plot.GetLegend().SetLabelSize(13)
    plot.GetLegend().SetInline(False)
    plot.GetLegend().SetHorizontalAlignment(vtk.vtkChartLegend.CENTER)
    plot.GetLegend().SetVerticalAlignment(vtk.vtkChartLegend.TOP)
    for axis, title in ((vtk.vtkAxis.BOTTOM, chart.GetXAxisTitle()), (vtk.vtkAxis.LEFT, chart.GetYAxisTitle())):
        plot.GetAxis(axis).SetTitle(title)
        plot.GetAxis(axis).GetTitleProperties().SetFontSize(15)
        plot.GetAxis(axis).GetLabelProperties().SetFontSize(13)
    return Image.fromarray(pixels_of(view.GetRenderWindow()))


def beside(*pictures):
    """Pictures of one height in a row."""
    row = Image.new("RGB", (sum(one.width for one in pictures) + 4 * (len(pictures) - 1), pictures[0].height), PAPER)
    left = 0
    for one in pictures:
        row.paste(one, (left, 0))
        left += one.width + 4
    return row


def sheet(steps, columns=2):
    """Numbered steps, each a (title, words, picture) with pictures of one size, in rows from left to right."""
    width, height = steps[0][2].size
    cell = width + 2 * MARGIN, height + 5 * LINE
    rows = -(-len(steps) // columns)
    page = Image.new("RGB", (columns * cell[0], rows * cell[1]), PAPER)
    draw = ImageDraw.Draw(page)
    for index, (title, words, picture) in enumerate(steps):
        left, top = (index % columns) * cell[0] + MARGIN, (index // columns) * cell[1] + MARGIN
        draw.ellipse((left, top, left + LINE, top + LINE), fill=ACCENT)
        middle = top + LINE / 2
        draw.text((left + LINE / 2, middle), str(index + 1), PAPER, ImageFont.load_default(16), "mm")
        draw.text((left + LINE + 8, middle), title, INK, ImageFont.load_default(19), "lm")
        page.paste(picture, (left, top + LINE + 6))
        draw.text((left, top + LINE + height + 12), words, INK, ImageFont.load_default(15), "la")
    return page


def save(page, path):
    """Write a PNG of modest size."""
    page.quantize(NUM_COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def num_tinted(picture, color):
    """Number of pixels with the hue of a colour, given as three numbers from 0 to 1: lines, symbols and overlays."""
    pixels, wanted = np.asarray(picture.convert("RGB"), dtype=float), np.array(color) - min(color)
    chroma = pixels - pixels.min(axis=2, keepdims=True)
    length = np.linalg.norm(chroma, axis=2)
    likeness = chroma @ wanted / np.maximum(length, 1) / np.linalg.norm(wanted)
    return int(((length > MIN_CHROMA) & (likeness > MIN_LIKENESS)).sum())


def _letter(direction):
    """Patient's directions at both ends of an axis: where it comes from and where it goes to."""
    axis = int(np.argmax(np.abs(direction)))
    return LETTERS[axis] if direction[axis] > 0 else LETTERS[axis][::-1]


def _write(draw, place, words, anchor):
    """White words with a dark rim, to be read on any image."""
    font = ImageFont.load_default(17)
    draw.text(place, words, (255, 255, 255), font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))


def _add_plot(plot, series):
    line = plot.AddPlot(vtk.vtkChart.LINE)
    line.SetInputData(series.GetTableNode().GetTable(), series.GetXColumnName(), series.GetYColumnName())
    line.SetLabel(series.GetName())
    line.SetColorF(*series.GetColor())
    line.SetWidth(series.GetLineWidth())
    line.SetMarkerStyle(series.GetMarkerStyle())
    line.SetMarkerSize(series.GetMarkerSize())
    if series.GetLineStyle() == slicer.vtkMRMLPlotSeriesNode.LineStyleNone:
        line.GetPen().SetLineType(vtk.vtkPen.NO_PEN)

"""One contract, four sessions: the engine here, the engine in a worker, the fake here, the fake in a worker."""

import sys

import numpy as np
import pytest
from conftest import FAKE_COMMAND, NUM_FRAMES, SEED_FRAME

from DDSAM2SlicerLib.core.errors import PromptError, WeightsError
from DDSAM2SlicerLib.core.masks import label_components
from DDSAM2SlicerLib.core.plan import FrameRange
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.testing.fakes import FakeEngine, load_predictor
from DDSAM2SlicerLib.worker.client import DEFAULT_COMMAND, WorkerClient

AFTER_SEED = [*range(SEED_FRAME + 1, NUM_FRAMES)]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    """A small network with random weights, in a file."""
    torch = pytest.importorskip("torch")
    from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
    from DDSAM2SlicerLib.model.checkpoint import save_checkpoint

    torch.manual_seed(0)
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("models") / "random.safetensors"
    save_checkpoint(build_model(ARCHITECTURES["hiera_nano"].with_image_size(64)), path, {})
    return path


@pytest.fixture(scope="module")
def adapter_file(model_file):
    """Other adapters for the same network, in a file of their own."""
    torch = pytest.importorskip("torch")
    from DDSAM2SlicerLib.model.checkpoint import load_model, save_adapters

    model = load_model(model_file)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if ".adapter." in name:
                value.add_(torch.randn_like(value))
    path = model_file.with_name("adapters.safetensors")
    save_adapters(model, path, {})
    return path


@pytest.fixture(scope="module")
def engine(model_file):
    """The engine in this process."""
    from DDSAM2SlicerLib.engine.predictor import load_predictor as load_engine

    return load_engine(model_file, "cpu")


def _client(command, model):
    client = WorkerClient(command)
    client.start_load_model(model, "cpu")
    return client


@pytest.fixture(scope="module")
def engine_worker(model_file):
    """The same engine in a worker."""
    with _client(DEFAULT_COMMAND, str(model_file)) as client:
        yield client


@pytest.fixture(scope="module")
def fake_worker():
    """The fake engine in a worker, not so quick that all is done before a cancel arrives."""
    with _client(FAKE_COMMAND, "fake?delay_s=0.01") as client:
        yield client


@pytest.fixture(scope="module", params=["fake", "fake_worker", "engine_worker", "engine"])
def opener(request):
    """Anything whose ``open(frames)`` gives a session."""
    return FakeEngine() if request.param == "fake" else request.getfixturevalue(request.param)


@pytest.fixture
def session(opener, frames, prompts):
    """A session with both objects prompted on one frame."""
    session = opener.open(frames)
    session.set_prompts(prompts)
    return session


def visited(results):
    """All (object, frame), sorted; a pair that comes twice is there twice."""
    return sorted((one, result.frame) for result in results for one in result.object_ids)


def pairs(object_ids, frames):
    return sorted((one, frame) for one in object_ids for frame in frames)


def test_every_result_has_masks_and_scores_of_its_objects(session, frames):
    for result in session.propagate():
        count = len(result.object_ids)
        assert result.masks.shape == (count, frames.height, frames.width)
        assert result.masks.dtype == bool
        assert len(result.scores) == count >= 1
        for score in result.scores:
            assert 0 <= score.iou <= 1
            assert 0 <= score.object_score <= 1
            assert 0 <= score.overlap <= 1
            assert score.ended in (False, True)


def test_every_object_comes_once_on_every_frame(session):
    assert visited(session.propagate()) == pairs([1, 2], range(NUM_FRAMES))


def test_a_mask_prompt_comes_back_as_it_was_given(session, heart):
    result = session.preview(SEED_FRAME)
    assert result.object_ids == (1, 2)
    np.testing.assert_array_equal(result.masks, [heart.labels[SEED_FRAME] == 1, heart.labels[SEED_FRAME] == 2])


def test_points_and_boxes_give_a_preview(session, prompts):
    session.set_prompts(prompts.with_point(1, 5, Point(24, 24)).with_box(2, 5, Box(10, 10, 38.5, 40)))
    result = session.preview(5)
    assert (result.frame, result.object_ids) == (5, (1, 2))


def test_a_preview_without_prompt_says_so(session):
    with pytest.raises(PromptError, match="Frame 4 has no prompt"):
        session.preview(4)


@pytest.mark.parametrize(
    ("direction", "expected"), [("forward", [SEED_FRAME, *AFTER_SEED]), ("backward", [*range(SEED_FRAME + 1)])]
)
def test_directions_are_kept(session, direction, expected):
    assert visited(session.propagate(direction)) == pairs([1, 2], expected)


def test_frames_outside_the_range_are_left_alone(session):
    assert visited(session.propagate(frame_range=FrameRange(2, 6))) == pairs([1, 2], range(2, 6))


def test_a_range_without_the_prompts_is_refused(session):
    with pytest.raises(PromptError, match="outside"):
        list(session.propagate(frame_range=FrameRange(5, 9)))


def test_locked_frames_are_not_visited_and_ends_are_kept(session, heart):
    locked = {1: {7: heart.labels[7] == 1}}
    results = list(session.propagate("forward", locked=locked, ends={2: (None, 5)}))
    expected = [(1, frame) for frame in [SEED_FRAME, *AFTER_SEED] if frame != 7] + [(2, 3), (2, 4), (2, 5)]
    assert visited(results) == sorted(expected)


@pytest.mark.parametrize("changed", [(1, SEED_FRAME), [(1, SEED_FRAME)]])
def test_a_change_recomputes_only_up_to_the_next_anchor(session, heart, changed):
    locked = {1: {5: heart.labels[5] == 1}}
    results = list(session.propagate(locked=locked, changed=changed))
    assert sorted(set(visited(results))) == pairs([1], [0, 1, 2, 3, 4])


def test_cancel_ends_the_iteration_and_the_next_run_is_whole(session):
    seen = []
    for result in session.propagate(cancel=lambda: bool(seen)):
        seen.append(result)
    assert 1 <= len(seen) < NUM_FRAMES
    assert visited(session.propagate()) == pairs([1, 2], range(NUM_FRAMES))


def test_leaving_the_loop_early_leaves_the_session_usable(session):
    for _ in session.propagate():
        break
    assert session.preview(SEED_FRAME).object_ids == (1, 2)


def test_no_prompts_and_prompts_outside_are_refused_and_the_old_ones_stay(session, prompts):
    beyond, beside = prompts.with_point(1, NUM_FRAMES, Point(3, 3)), prompts.with_point(1, 0, Point(99, 3))
    for bad in (PromptSet.empty(), beyond, beside):
        with pytest.raises(PromptError):
            session.set_prompts(bad)
    assert session.preview(SEED_FRAME).object_ids == (1, 2)


def test_two_stacks_do_not_mix(opener, session, frames, heart):
    other = opener.open(frames)
    other.set_prompts(PromptSet.empty().with_mask(5, 0, heart.labels[0] == 1))
    assert other.preview(0).object_ids == (5,)
    assert session.preview(SEED_FRAME).object_ids == (1, 2)


@pytest.mark.parametrize(("here", "there"), [("engine", "engine_worker"), ("fake", "fake_worker")])
def test_the_worker_gives_what_the_engine_gives_to_the_bit(request, frames, prompts, here, there):
    answers = []
    for opener in (FakeEngine() if here == "fake" else request.getfixturevalue(here), request.getfixturevalue(there)):
        session = opener.open(frames)
        session.set_prompts(prompts)
        answers.append(list(session.propagate()))
    for one, other in zip(*answers, strict=True):
        assert (one.frame, one.object_ids) == (other.frame, other.object_ids)
        np.testing.assert_array_equal(one.masks, other.masks)
        assert [(s.iou, s.object_score, s.overlap, s.ended) for s in one.scores] == [
            (s.iou, s.object_score, s.overlap, s.ended) for s in other.scores
        ]


def test_a_model_file_that_is_gone_costs_the_real_worker_nothing(engine_worker, model_file, frames, prompts):
    session = engine_worker.open(frames)
    session.set_prompts(prompts)
    gone = str(model_file.with_name("gone.safetensors"))
    for attempt in (lambda: engine_worker.load_model(gone, "cpu"), lambda: session.preview(SEED_FRAME)):
        with pytest.raises(WeightsError, match=r"There is no model file .*gone\.safetensors"):
            attempt()
    engine_worker.load_model(str(model_file), "cpu")
    assert session.preview(SEED_FRAME).object_ids == (1, 2)
    assert engine_worker.generation == 1


def test_adapters_of_a_file_answer_as_in_the_engine_and_a_bad_file_costs_nothing(
    engine, engine_worker, model_file, adapter_file, frames
):
    from DDSAM2SlicerLib.engine.predictor import load_predictor as load_engine

    def scores(opener):
        session = opener.open(frames)  # a box: masks that random weights would not draw are followed without them
        session.set_prompts(PromptSet.empty().with_box(1, SEED_FRAME, Box(10, 10, 30, 30)))
        return [score.iou for result in session.propagate() for score in result.scores]

    plain, adapted = scores(engine), scores(load_engine(model_file, "cpu", adapters=adapter_file))
    assert adapted != plain
    engine_worker.load_model(str(model_file), "cpu", adapters=str(adapter_file))
    assert scores(engine_worker) == adapted
    for bad, sentence in ((model_file, "holds no adapters"), ("/gone.safetensors", "cannot be read")):
        with pytest.raises(WeightsError, match=sentence):
            engine_worker.load_model(str(model_file), "cpu", adapters=str(bad))
    engine_worker.load_model(str(model_file), "cpu")
    assert scores(engine_worker) == plain
    assert engine_worker.generation == 1


def test_other_settings_reach_a_stack_that_is_open(engine_worker, model_file, frames, prompts):
    session = engine_worker.open(frames)
    session.set_prompts(prompts)
    answers = []
    for settings in (EngineSettings(), EngineSettings(mask_prior=False), EngineSettings()):
        engine_worker.load_model(str(model_file), "cpu", settings)
        answers.append([score.iou for result in session.propagate() for score in result.scores])
    assert answers[0] == answers[2] != answers[1]
    assert engine_worker.generation == 1


def test_the_fake_follows_the_phantom(frames, heart, prompts):
    session = FakeEngine().open(frames)
    session.set_prompts(prompts)
    for result in session.propagate():
        truth = heart.labels[result.frame] == np.array(result.object_ids)[:, None, None]
        assert np.count_nonzero(result.masks & truth) > 0.9 * np.count_nonzero(truth)


def test_the_fake_knows_one_model_and_names_faults():
    with pytest.raises(WeightsError, match="no model file nano"):
        load_predictor("nano")
    assert load_predictor("fake?memory_at=3").faults.memory_at == 3
    with pytest.raises(WeightsError, match=r"/gone\.safetensors cannot be read"):
        load_predictor("fake", adapters="/gone.safetensors")


def test_the_fake_keeps_the_largest_part_of_a_prompt_if_asked(frames):
    prompts = PromptSet.empty().with_point(1, 0, Point(8, 8)).with_point(1, 0, Point(40, 40))
    parts = []
    for keep_largest in (False, True):
        session = FakeEngine(EngineSettings(keep_largest=keep_largest)).open(frames)
        session.set_prompts(prompts)
        parts.append(label_components(session.preview(0).masks[0])[1])
    assert parts == [2, 1]


def test_the_worker_command_runs_this_python():
    assert list(DEFAULT_COMMAND) == [sys.executable, "-m", "DDSAM2SlicerLib.worker"]

"""The vocabulary every room shares: geometry, frames, prompts, plans, masks, metrics, settings (layer: core)."""

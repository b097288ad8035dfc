"""From prompts on some frames to masks on all of them (layer: engine)."""

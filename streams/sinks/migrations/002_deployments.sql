-- When new versions of a model began, and how many older windows had counts that came too late.
ALTER TABLE windows ADD COLUMN IF NOT EXISTS late_after_final UInt64 AFTER flags;

ALTER TABLE windows
    ADD COLUMN IF NOT EXISTS deployments Array(Tuple(version String, time DateTime64(3, 'UTC'))) AFTER late_after_final;

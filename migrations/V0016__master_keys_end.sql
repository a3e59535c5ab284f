-- A node that was not restarted when a master key was retired must not go on sealing with it: nobody could open that.
-- Locks: `registry`, which has one row, for a moment.
ALTER TABLE registry ADD COLUMN sealing_version_min integer NOT NULL DEFAULT 1;

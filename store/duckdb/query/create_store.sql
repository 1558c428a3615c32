-- What every store has, whatever its apps. _loaded holds, for each app, the
-- number of the next event that is to come from the journal.
CREATE TABLE _format (number INTEGER NOT NULL);
CREATE TABLE _plans (app VARCHAR NOT NULL, plan VARCHAR NOT NULL);
CREATE TABLE _loaded (app VARCHAR NOT NULL, row BIGINT NOT NULL);

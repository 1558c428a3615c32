-- What every store has, whatever its apps.
CREATE TABLE _format (number INTEGER NOT NULL);
CREATE TABLE _plans (app VARCHAR NOT NULL, plan VARCHAR NOT NULL);

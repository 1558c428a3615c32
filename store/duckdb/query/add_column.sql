ALTER TABLE {{quote .Table}} ADD COLUMN {{.Definition}}

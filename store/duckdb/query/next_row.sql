SELECT coalesce(max(_row), 0) + 1 FROM {{quote .EventTable}}

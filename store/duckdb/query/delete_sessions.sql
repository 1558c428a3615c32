DELETE FROM {{quote .SessionTable}} WHERE _sender IN (SELECT unnest($1::BIGINT[]))

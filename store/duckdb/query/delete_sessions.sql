DELETE FROM {{quote .SessionTable}} WHERE _sender = $1

UPDATE _loaded SET row = $2 WHERE app = $1

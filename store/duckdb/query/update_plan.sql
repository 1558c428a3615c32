UPDATE _plans SET plan = $2 WHERE app = $1

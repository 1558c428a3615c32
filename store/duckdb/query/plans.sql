SELECT app, plan FROM _plans

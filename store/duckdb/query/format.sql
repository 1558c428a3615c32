SELECT number FROM _format

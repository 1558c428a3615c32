SELECT row FROM _loaded WHERE app = $1

package plan

// SessionColumns returns the fields that are stored once a session, in plan
// order, without the identity: a store keeps ids apart from everything else.
func (p *Plan) SessionColumns() []Field {
	var fields []Field
	for _, f := range p.Fields {
		if f.Session && f.Name != p.Identity {
			fields = append(fields, f)
		}
	}
	return fields
}

// EventColumns returns the fields that are stored with each event: those of the
// plan that do not belong to the session, then those of each event in plan
// order, every name once. "time" is left out, because every event has one.
func (p *Plan) EventColumns() []Field {
	var fields []Field
	seen := map[string]bool{"time": true, p.Identity: true}
	add := func(f Field) {
		if !f.Session && !seen[f.Name] {
			seen[f.Name] = true
			fields = append(fields, f)
		}
	}
	for _, f := range p.Fields {
		add(f)
	}
	for _, e := range p.Events {
		for _, f := range e.Fields {
			add(f)
		}
	}
	return fields
}

// EventIndex returns the index of the event called name, or -1.
func (p *Plan) EventIndex(name string) int {
	for i := range p.Events {
		if p.Events[i].Name == name {
			return i
		}
	}
	return -1
}

// Lookup returns the field called name, wherever the plan declares it.
func (p *Plan) Lookup(name string) (Field, bool) {
	if f, ok := p.field(name); ok {
		return f, true
	}
	for _, e := range p.Events {
		for _, f := range e.Fields {
			if f.Name == name {
				return f, true
			}
		}
	}
	return Field{}, false
}

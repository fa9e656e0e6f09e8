package faults

import "strings"

// operation is something that a caller asks of the engine.
type operation struct {
	name string
	do   func(e *engine) answer
	// first is what has been done before.
	first func(e *engine) answer
	// reads says that it changes nothing.
	reads bool
	// random says that what it stores differs each time, so that it cannot be repeated.
	random bool
	// cold says that the engine has just started and knows no names.
	cold   bool
	config fields
}

func operations() []operation {
	data := func(data fields) fields { return fields{"data": data} }
	read := func(path string) operation {
		return operation{name: "read " + named(path), reads: true, do: func(e *engine) answer { return e.read(path) }}
	}
	list := func(path string) operation {
		return operation{name: "list " + named(path), reads: true, do: func(e *engine) answer { return e.list(path) }}
	}
	write := func(what, path string, body fields) operation {
		return operation{name: what, do: func(e *engine) answer { return e.write(path, body) }}
	}
	patch := func(what, path string, body fields) operation {
		return operation{name: what, do: func(e *engine) answer { return e.patch(path, body) }}
	}
	remove := func(what, path string) operation {
		return operation{name: what, do: func(e *engine) answer { return e.delete(path) }}
	}
	random := func(o operation) operation { o.random = true; return o }

	cold := func(o operation) operation { o.name, o.cold = o.name+", first after a start", true; return o }
	stale := read("secrets/existing")
	stale.name, stale.config, stale.first = "read secrets/NAME again, with stale_if_error", fields{"stale_if_error": 3600}, stale.do
	cleared := patch("patch secrets/NAME, description cleared", "secrets/existing", fields{"description": nil})
	cleared.first = func(e *engine) answer { return e.write("secrets/existing", fields{"description": "as before"}) }

	return []operation{
		write("write config", "config", fields{"cache_size": 7}),
		list("secrets/"),
		read("secrets/existing"),
		cold(read("secrets/existing")),
		stale,
		write("create secrets/NAME", "secrets/new", fields{"value": "hidden-new", "description": "as wanted"}),
		write("create secrets/NAME, cas=0", "secrets/new", fields{"value": "hidden-new", "cas": 0}),
		write("update secrets/NAME, value", "secrets/existing", fields{"value": "hidden-4"}),
		write("update secrets/NAME, value, cas=N", "secrets/existing", fields{"value": "hidden-4", "cas": 3}),
		cold(write("update secrets/NAME, value", "secrets/existing", fields{"value": "hidden-4"})),
		cold(write("update secrets/NAME, value, cas=N", "secrets/existing", fields{"value": "hidden-4", "cas": 3})),
		write("update secrets/NAME, description", "secrets/existing", fields{"description": "as wanted"}),
		cold(write("update secrets/NAME, description", "secrets/existing", fields{"description": "as wanted"})),
		write("update secrets/NAME, value and description", "secrets/existing", fields{"value": "hidden-4", "description": "as wanted"}),
		cleared,
		remove("delete secrets/NAME", "secrets/existing"),
		list("secrets/existing/versions/"),
		read("secrets/existing/versions/2"),
		write("update secrets/NAME/versions/N, status", "secrets/existing/versions/1", fields{"status": "inactive"}),
		remove("delete secrets/NAME/versions/N", "secrets/existing/versions/1"),
		list("ids/"),
		{name: "read ids/ID", reads: true, do: func(e *engine) answer { return e.read("ids/" + e.existing) }},
		{name: "update ids/ID, value", do: func(e *engine) answer { return e.write("ids/"+e.existing, fields{"value": "hidden-4"}) }},
		{name: "delete ids/ID", do: func(e *engine) answer { return e.delete("ids/" + e.existing) }},
		read("data/existing"),
		write("create data/NAME", "data/new", data(fields{"user": "hidden-new"})),
		write("update data/NAME", "data/existing", data(fields{"user": "hidden-4"})),
		patch("patch data/NAME", "data/existing", data(fields{"more": "hidden-4"})),
		remove("delete data/NAME", "data/existing"),
		list("metadata/"),
		read("metadata/existing"),
		write("update metadata/NAME", "metadata/existing", fields{"custom_metadata": fields{"description": "as wanted"}}),
		remove("delete metadata/NAME", "metadata/existing"),
		write("update delete/NAME", "delete/existing", fields{"versions": []int{3}}),
		write("update undelete/NAME", "undelete/existing", fields{"versions": []int{2}}),
		write("update destroy/NAME", "destroy/existing", fields{"versions": []int{1}}),
		read("subkeys/existing"),
		random(write("create generate/NAME", "generate/new", fields{})),
		random(write("update generate/NAME", "generate/existing", fields{})),
	}
}

// named is a path as the documentation writes it.
func named(path string) string {
	return strings.NewReplacer("existing", "NAME", "versions/2", "versions/N").Replace(path)
}

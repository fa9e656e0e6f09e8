package backend

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// secretOperation is one on a secret: with these fields it succeeds, if nothing is in the way.
type secretOperation struct {
	op   logical.Operation
	path string
	data fields
}

func (o secretOperation) String() string { return string(o.op) + " " + o.path }

var (
	aValue = fields{"value": "hidden-2"}
	aMap   = fields{"data": fields{"value": "hidden-2"}}
	aNote  = fields{"custom_metadata": fields{"description": "x"}}

	readsOfSecrets = []secretOperation{
		{logical.ReadOperation, "secrets/NAME", nil}, {logical.ReadOperation, "ids/ID", nil},
		{logical.ReadOperation, "secrets/NAME/versions/N", nil}, {logical.ListOperation, "secrets/NAME/versions/", nil},
		{logical.ReadOperation, "data/NAME", nil}, {logical.ReadOperation, "subkeys/NAME", nil}, {logical.ReadOperation, "metadata/NAME", nil},
	}
	creates = []secretOperation{
		{logical.CreateOperation, "secrets/NAME", aValue}, {logical.CreateOperation, "generate/NAME", nil},
		{logical.CreateOperation, "data/NAME", aMap}, {logical.CreateOperation, "metadata/NAME", aNote},
	}
	changes = []secretOperation{
		{logical.UpdateOperation, "secrets/NAME", aValue}, {logical.PatchOperation, "secrets/NAME", aValue},
		{logical.UpdateOperation, "ids/ID", aValue}, {logical.PatchOperation, "ids/ID", aValue},
		{logical.UpdateOperation, "secrets/NAME/versions/N", fields{"status": "inactive"}},
		{logical.UpdateOperation, "generate/NAME", nil},
		{logical.UpdateOperation, "data/NAME", aMap}, {logical.PatchOperation, "data/NAME", aMap},
		{logical.UpdateOperation, "metadata/NAME", aNote}, {logical.PatchOperation, "metadata/NAME", aNote},
	}
	deletes = []secretOperation{
		{logical.DeleteOperation, "secrets/NAME", nil}, {logical.DeleteOperation, "ids/ID", nil},
		{logical.DeleteOperation, "secrets/NAME/versions/N", nil},
		{logical.DeleteOperation, "data/NAME", nil}, {logical.DeleteOperation, "metadata/NAME", nil},
	}
	kvVersionWrites = []secretOperation{ // pass over what is not there, as in KV version 2
		{logical.UpdateOperation, "delete/NAME", fields{"versions": 1}}, {logical.UpdateOperation, "undelete/NAME", fields{"versions": 1}},
		{logical.UpdateOperation, "destroy/NAME", fields{"versions": 1}},
	}
)

// ways are the kinds of operations, to each of which a condition means one status.
const (
	aRead = iota
	aCreate
	aChange
	aDelete
	aKVVersionWrite
)

var ways = [][]secretOperation{readsOfSecrets, creates, changes, deletes, kvVersionWrites}

const (
	succeeds = http.StatusOK
	skip     = 0 // the condition is none for this operation
)

func TestTheSameConditionIsTheSameStatusOnEveryPath(t *testing.T) {
	t.Parallel()
	expire := func(e *engine, hides bool) {
		e.sim.SetExpiry("one", time.Now().Add(-time.Hour))
		e.sim.SetBehavior(simulator.Behavior{ExpiredIs404: hides})
	}
	fault := func(f simulator.Fault) func(*engine) { return func(e *engine) { e.sim.AddFault(f) } }
	all := func(status int) [5]int { return [5]int{status, status, status, status, status} }
	// What ABEJA withholds need not be seen to change its description, nor to delete it all.
	unseen := map[string]int{
		"update metadata/NAME": succeeds, "patch metadata/NAME": succeeds,
		"delete secrets/NAME": succeeds, "delete ids/ID": succeeds, "delete metadata/NAME": succeeds,
	}
	for name, c := range map[string]struct {
		config   fields
		given    func(*engine)
		asked    func(secretOperation) (secretOperation, bool) // the operation in which the condition shows, if any
		statuses [5]int                                        // by way
		but      map[string]int                                // with the reason where it stands
		says     string                                        // in every refusal
	}{
		"nothing is in the way": {
			statuses: [5]int{aRead: succeeds, aChange: succeeds, aDelete: succeeds, aKVVersionWrite: succeeds},
		},
		"it is absent": {
			given:    func(e *engine) { e.sim.Delete("one") },
			statuses: [5]int{404, succeeds, 404, succeeds, succeeds},
			says:     "no such secret",
		},
		"it exists": {
			given:    func(e *engine) { e.sim.Create("new_one", []byte("hidden-3")) },
			statuses: [5]int{aCreate: 409},
			says:     "the secret exists: write again to update it",
		},
		"it exists, and was to be new": {
			given: func(e *engine) { e.sim.Create("new_one", []byte("hidden-3")) },
			asked: func(o secretOperation) (secretOperation, bool) { return o.with(0) }, statuses: [5]int{aCreate: 400},
			says: casMismatch,
		},
		"check-and-set of another version": {
			asked: func(o secretOperation) (secretOperation, bool) { return o.with(7) }, statuses: [5]int{aChange: 400},
			says: casMismatch,
		},
		"check-and-set of a version of none": {
			asked: func(o secretOperation) (secretOperation, bool) { return o.with(7) }, statuses: [5]int{aCreate: 400},
			says: casMismatch,
		},
		"ABEJA withholds what has expired, warn": {
			given:    func(e *engine) { expire(e, true) },
			statuses: [5]int{404, skip, 404, 404, 404}, but: unseen,
			says: "^expired at .*Z: ABEJA no longer returns it: set a later expired_at$",
		},
		"ABEJA withholds what has expired, deny": {
			config: fields{"expired_secrets": "deny"}, given: func(e *engine) { expire(e, true) },
			statuses: [5]int{403, skip, 403, 403, 403}, but: unseen,
			says: "^the secret has expired at .*Z, and the mount's config has expired_secrets=deny: set a later expired_at$",
		},
		"ABEJA shows what has expired, warn": {
			given:    func(e *engine) { expire(e, false) },
			statuses: [5]int{succeeds, skip, succeeds, succeeds, succeeds},
		},
		"ABEJA shows what has expired, deny": {
			config: fields{"expired_secrets": "deny"}, given: func(e *engine) { expire(e, false) },
			statuses: [5]int{403, skip, succeeds, succeeds, succeeds},
			// These show no value.
			but:  map[string]int{"list secrets/NAME/versions/": succeeds, "read metadata/NAME": succeeds},
			says: "^the secret has expired at .*Z, and the mount's config has expired_secrets=deny: set a later expired_at$",
		},
		"no version is active": {
			given:    func(e *engine) { e.sim.SetStatus("one", 1, "inactive") },
			statuses: [5]int{404, skip, succeeds, succeeds, succeeds},
			but: map[string]int{
				// These show what there is, active or not.
				"read secrets/NAME/versions/N": succeeds, "list secrets/NAME/versions/": succeeds, "read metadata/NAME": succeeds,
				"patch data/NAME": 404, // has no data to merge into
			},
		},
		"there is no such version": {
			asked:    func(o secretOperation) (secretOperation, bool) { return o.ofVersion("9") },
			statuses: [5]int{404, skip, 404, succeeds, succeeds},
			says:     "no such version",
		},
		"the credential is refused": {
			given: fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 401}), statuses: all(502), says: "not your token",
		},
		"the user is refused": {
			given: fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 403}), statuses: all(502), says: "not your token",
		},
		"ABEJA is down":        {given: fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503}), statuses: all(502)},
		"ABEJA hangs up":       {given: fault(simulator.Fault{Kind: simulator.FaultCut}), statuses: all(502)},
		"a proxy answers":      {given: fault(simulator.Fault{Kind: simulator.FaultHTML}), statuses: all(502), says: "api_url|repeat the write"},
		"ABEJA limits":         {given: fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 429, RetryAfter: "3600"}), statuses: all(429), says: "wait a little"},
		"the time is up":       {statuses: all(504), says: "request_timeout|repeat the write"},
		"it is not configured": {given: func(e *engine) { e.call(logical.DeleteOperation, "config").ok() }, statuses: all(400), says: "not configured"},
		"no secret has this name": {
			asked: func(o secretOperation) (secretOperation, bool) {
				o.path = strings.NewReplacer("NAME", "a.b", "ID", "a.b").Replace(o.path)
				return o, true
			},
			statuses: all(400), says: "letters, digits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, operations := range ways {
				for _, o := range operations {
					want, excepted := c.but[o.String()]
					if !excepted {
						want = c.statuses[way]
					}
					asked := o
					if c.asked != nil {
						var shows bool
						if asked, shows = c.asked(o); !shows {
							continue
						}
					}
					if want == skip {
						continue
					}
					e := newEngine(t, simulator.Options{}, c.config)
					id := e.sim.Create("one", []byte("hidden-1"))
					e.sim.Create("two", []byte("hidden-2"))
					e.list("secrets/").ok() // the names are known, as after a start
					if c.given != nil {
						c.given(e)
					}
					ctx := t.Context()
					if name == "the time is up" {
						late, cancel := context.WithTimeout(ctx, time.Nanosecond)
						defer cancel()
						<-late.Done()
						ctx = late
					}
					name := "one"
					if way == aCreate {
						name = "new_one" // Vault knows of none, or it would be an update
					}
					asked.path = strings.NewReplacer("versions/N", "versions/1", "NAME", name, "ID", id).Replace(asked.path)
					status, text := e.statusOf(ctx, asked)
					require.Equal(t, want, status, "%s: %s", o, text)
					if status != succeeds && text != "" && !excepted {
						require.Regexp(t, c.says, text, o)
					}
				}
			}
		})
	}
}

// statusOf returns the status that Vault answers, 200 for 204 too, and the sentence of a refusal.
func (e *engine) statusOf(ctx context.Context, o secretOperation) (int, string) {
	e.t.Helper()
	resp, err := e.backend.HandleRequest(ctx, e.request(o.op, o.path, o.data))
	a := enginetest.AnswerTo(o.op, resp, err)
	require.False(e.t, a.Status == http.StatusInternalServerError || enginetest.Shows(a.Text), "%s: %s", o, a.Text)
	if a.Status == http.StatusNoContent {
		a.Status = http.StatusOK
	}
	return a.Status, a.Text
}

// with returns the operation with check-and-set, if it has that.
func (o secretOperation) with(cas int) (secretOperation, bool) {
	o.data = maps.Clone(o.data)
	switch {
	case o.data["value"] != nil:
		o.data["cas"] = cas
	case o.data["data"] != nil:
		o.data["options"] = fields{"cas": cas}
	default:
		return o, false
	}
	return o, true
}

// ofVersion returns the operation on a version, if it can be told of one.
func (o secretOperation) ofVersion(number string) (secretOperation, bool) {
	switch {
	case strings.HasSuffix(o.path, "/N"):
		o.path = strings.TrimSuffix(o.path, "N") + number
	case o.op == logical.ReadOperation && o.path != "metadata/NAME":
		o.data = fields{"version": number}
	case o.data["versions"] != nil:
		o.data = fields{"versions": number}
	default:
		return o, false
	}
	return o, true
}

func TestEveryOperationOnASecretIsHeldToTheSameStatuses(t *testing.T) {
	t.Parallel()
	b := newUnconfigured(t, simulator.Options{}).backend.(*backend)
	b.Route("config") // compiles the patterns
	held := map[string]bool{
		"list metadata/NAME": true, // there are no folders: is empty whatever is asked
	}
	for _, operations := range ways {
		for _, o := range operations {
			held[o.String()] = true
		}
	}
	found := map[string]bool{}
	for _, path := range b.Paths {
		shown := shownPath(path)
		if !strings.Contains(shown, "/NAME") && !strings.Contains(shown, "/ID") {
			continue
		}
		for op := range path.Operations {
			found[string(op)+" "+shown] = true
		}
	}
	require.Equal(t, found, held)
}

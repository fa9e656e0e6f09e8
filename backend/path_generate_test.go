package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// generate writes to generate/ and returns the value that ABEJA then holds.
func (e *engine) generate(name string, body fields) string {
	e.t.Helper()
	e.kvPut("generate/"+name, body).ok()
	sec, _ := e.sim.Secret(name)
	return string(sec.Versions[len(sec.Versions)-1].Value)
}

func TestGenerateStoresANewValueAsANewVersion(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	created := e.kvPut("generate/one", fields{}).ok()
	sec, _ := e.sim.Secret("one")
	require.Equal(t, map[string]any{"id": sec.ID, "version": 1.0, "created": true}, created)
	require.Regexp(t, `^[A-Za-z0-9]{32}$`, string(sec.Versions[0].Value))

	e.write("secrets/one", fields{"description": "kept"}).ok()
	require.Equal(t, map[string]any{"id": sec.ID, "version": 2.0, "created": false}, e.kvPut("generate/one", fields{}).ok())
	after, _ := e.sim.Secret("one")
	require.Len(t, after.Versions, 2)
	require.NotEqual(t, after.Versions[0].Value, after.Versions[1].Value)
	require.Equal(t, "kept", after.Description)
}

func TestGenerateReturnsTheValueOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, no := range []any{nil, false, "false", 0} {
		require.NotContains(t, e.kvPut("generate/one", fields{"return_value": no}).ok(), "value")
	}
	for _, yes := range []any{true, "true", 1} {
		returned := e.kvPut("generate/one", fields{"return_value": yes}).ok()["value"]
		require.Equal(t, returned, e.read("secrets/one").ok()["value"])
	}
	// Nor does a refusal return it.
	e.sim.Create("two", []byte("hidden-1"))
	a := e.kv(logical.CreateOperation, "generate/two", fields{"return_value": true})
	a.refused(http.StatusConflict)
	require.Nil(t, a.data)
}

func TestGenerateDrawsLengthCharactersFromTheCharset(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, c := range []struct {
		body fields
		want string
	}{
		{fields{"length": 8}, `^[A-Za-z0-9]{8}$`},
		{fields{"length": "64"}, `^[A-Za-z0-9]{64}$`},
		{fields{"charset": "01"}, `^[01]{32}$`},
		{fields{"charset": "a ~", "length": 100}, `^[a ~]{100}$`},
	} {
		require.Regexp(t, c.want, e.generate("one", c.body), "%v", c.body)
	}
	require.Len(t, e.generate("one", fields{"length": 4096}), 4096)
}

func TestGenerateDrawsEveryCharacterAlikeAndAnewEachTime(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	counts, values := map[byte]int{}, map[string]bool{}
	const rounds, length = 20, 4096
	for range rounds {
		value := e.generate("one", fields{"length": length})
		values[value] = true
		for i := range len(value) {
			counts[value[i]]++
		}
	}
	require.Len(t, values, rounds)
	require.Len(t, counts, len(alphanumeric))
	// 1321 of each are expected, with a standard deviation of 36. A byte modulo 62 would give the
	// first 8 of them 1600.
	for c, n := range counts {
		require.InDelta(t, rounds*length/len(alphanumeric), n, 220, "%c", c)
	}
}

func TestGenerateRefusesLengthsCharsetsAndNamesThatMakeNoSecret(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, name := range []string{"one", "two"} {
		for _, c := range []struct {
			body fields
			says string
		}{
			{fields{"length": 7}, "8 to 4096"}, {fields{"length": 4097}, "8 to 4096"}, {fields{"length": 0}, "8 to 4096"}, {fields{"length": -32}, "8 to 4096"},
			{fields{"length": 8.5}, "length must be a whole number"}, {fields{"length": "long"}, "length must be a whole number"},
			{fields{"charset": "a"}, "charset must be 2 or more"}, {fields{"charset": ""}, "charset must be 2 or more"},
			{fields{"charset": "aab"}, "none twice"}, {fields{"charset": "ab\n"}, "printable ASCII"}, {fields{"charset": "abé"}, "printable ASCII"},
			{fields{"charset": "ab\x7f"}, "printable ASCII"},
			{fields{"return_value": "perhaps"}, "return_value must be true or false"},
		} {
			e.kvPut("generate/"+name, c.body).refused(http.StatusBadRequest, c.says)
		}
		e.sim.Create(name, []byte("hidden-1"))
	}
	e.kvPut("generate/a.b", fields{}).refused(http.StatusBadRequest, "letters, digits")
	e.kvPut("generate/api-secret", fields{}).refused(http.StatusBadRequest, "hyphen")
	require.Zero(t, e.writes())
}

func TestGenerateUsesAPasswordPolicyOfVault(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	view := logical.TestSystemView()
	made := ""
	view.SetPasswordPolicy("strong", func() (string, error) { made += "!"; return "made-by-policy" + made, nil })
	view.SetPasswordPolicy("empty", func() (string, error) { return "", nil })
	view.SetPasswordPolicy("broken", func() (string, error) { return "", errors.New("hidden-1") })
	e.backend = e.startWith(view)
	e.write("config", e.config()).ok()

	require.Equal(t, "made-by-policy!", e.generate("one", fields{"password_policy": "strong"}))
	require.Equal(t, "made-by-policy!!", e.generate("one", fields{"password_policy": "strong"}))
	require.Equal(t, "made-by-policy!!!", e.kvPut("generate/one", fields{"password_policy": "strong", "return_value": true}).ok()["value"])
	for _, bad := range []string{"unknown", "empty", "broken"} {
		e.kvPut("generate/one", fields{"password_policy": bad}).refused(http.StatusBadRequest, "Vault generated no value with this password_policy")
	}
	for _, both := range []fields{{"length": 32}, {"charset": "ab"}} {
		both["password_policy"] = "strong"
		e.kvPut("generate/one", both).refused(http.StatusBadRequest, "not both")
	}
	require.Len(t, strings.Split(made, ""), 3)
	e.holds("one", "made-by-policy!", "made-by-policy!!", "made-by-policy!!!")
}

func TestGenerateOnlyWrites(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, op := range []logical.Operation{logical.ReadOperation, logical.PatchOperation, logical.DeleteOperation, logical.ListOperation} {
		e.kv(op, "generate/one").refused(http.StatusMethodNotAllowed)
	}
	require.Zero(t, e.sim.Count())
}

package live

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// unknown is a row of the table "What is not known" in docs/abeja-api.md, and how to find out. What was
// found ends in the setting of the simulator's switch that makes the simulator do the same, where there
// is one.
type unknown struct {
	row     string
	findOut func(t *testing.T, a *abeja) (found string)
}

func unknowns(deep bool) []unknown {
	return []unknown{
		{"whether a new version makes the older ones inactive", newVersion},
		{"whether a name that exists is refused with 409 or 400", duplicateName},
		{"whether an unknown id is 404 or 403", unknownID},
		{"the order of lists", order},
		{"whether a list shows at once that a secret was created or deleted", listLag},
		{"whether an expired secret can be read", expired},
		{"whether null or an empty text clears `description` and `expired_at`", clearing},
		{"whether a list without values has versions", listWithoutValues},
		{"whether a secret that is got without values has versions", getWithoutValues},
		{"whether every record of a list is well formed", wellFormed},
		{"whether there is a rate limit", rateLimit},
		{"whether the last version may be deleted or made inactive", lastVersion},
		{"the largest value, and the most versions", func(t *testing.T, a *abeja) string {
			return largestValue(t, a) + "; " + mostVersions(t, a, deep)
		}},
	}
}

func newVersion(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "older", Value: []byte("1")})
	_, err := a.CreateVersion(a.ctx, s.ID, []byte("2"))
	require.NoError(t, err)
	if a.number(t, s.ID, 1).Status == client.Inactive {
		return "yes (new_version_deactivates_older=true)"
	}
	return "no (new_version_deactivates_older=false)"
}

func duplicateName(t *testing.T, a *abeja) string {
	a.create(t, client.NewSecret{Name: "taken", Value: []byte("v")})
	_, err := a.tryToCreate(t, client.NewSecret{Name: "taken", Value: []byte("v")})
	require.Error(t, err)
	switch status := statusOf(t, err); status {
	case 409:
		return "409 (duplicate_name_is_400=false)"
	case 400:
		return "400 (duplicate_name_is_400=true)"
	default:
		return fmt.Sprint(status)
	}
}

// statusOf returns the status with which ABEJA refused a call.
func statusOf(t *testing.T, err error) int {
	t.Helper()
	var refusal *client.Error
	require.True(t, errors.As(err, &refusal) && refusal.Status >= 400 && refusal.Status < 500, "%v", err)
	return refusal.Status
}

// unknownID asks for ids that were a secret's and a version's of its own: one that is made up could be
// that of another's secret.
func unknownID(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "unknown", Value: []byte("1")})
	v, err := a.CreateVersion(a.ctx, s.ID, []byte("2"))
	require.NoError(t, err)
	require.NoError(t, a.DeleteVersion(a.ctx, s.ID, v.ID))
	_, getVersion := a.GetVersion(a.ctx, s.ID, v.ID, client.ReadOptions{})
	require.NoError(t, a.DeleteSecret(a.ctx, s.ID))
	_, get := a.GetSecret(a.ctx, s.ID, client.ReadOptions{})
	_, update := a.UpdateSecret(a.ctx, s.ID, client.SecretUpdate{Description: new("d")})
	remove := a.DeleteSecret(a.ctx, s.ID)
	_, list := a.ListVersions(a.ctx, s.ID, client.ListOptions{})
	_, create := a.CreateVersion(a.ctx, s.ID, []byte("3"))

	var found []string
	statuses := map[int]bool{}
	for _, call := range []struct {
		name string
		err  error
	}{
		{"get version", getVersion}, {"get secret", get}, {"update secret", update}, {"delete secret", remove},
		{"list versions", list}, {"create version", create},
	} {
		require.Error(t, call.err, call.name)
		status := statusOf(t, call.err)
		statuses[status] = true
		found = append(found, fmt.Sprintf("%s %d", call.name, status))
	}
	switch {
	case len(statuses) == 1 && statuses[404]:
		return "404 (unknown_id_is_403=false)"
	case len(statuses) == 1 && statuses[403]:
		return "403 (unknown_id_is_403=true)"
	}
	return strings.Join(found, ", ")
}

func order(t *testing.T, a *abeja) string {
	created := []string{"order_c", "order_e", "order_a", "order_f", "order_b", "order_d"}
	var ids []string
	for _, name := range created {
		ids = append(ids, a.create(t, client.NewSecret{Name: name, Value: []byte("v")}).ID)
	}
	listed := func() (names []string) {
		for _, s := range a.listed(t, ids...) {
			names = append(names, strings.TrimPrefix(s.Name, a.prefix))
		}
		return names
	}
	got := listed()
	_, err := a.UpdateSecret(a.ctx, ids[1], client.SecretUpdate{Description: new("changed")})
	require.NoError(t, err)
	if !slices.Equal(got, listed()) {
		return "another one in each list (order=shuffled)"
	}

	newest := slices.Clone(created)
	slices.Reverse(newest)
	switch {
	case slices.Equal(got, created):
		return "oldest first (order=created)"
	case slices.Equal(got, newest):
		return "newest first (order=newest)"
	case slices.IsSorted(got):
		return "by name (order=name)"
	}
	return "neither by age nor by name (order=hash)"
}

// listLag takes three lists for at once: one of them may miss a secret because others are deleted.
func listLag(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "late", Value: []byte("v")})
	lag := func(want string, there bool) time.Duration {
		changed, lists := time.Now(), 0
		a.listUntil(t, want, func(mine []client.Secret) bool {
			lists++
			return there == slices.ContainsFunc(mine, func(listed client.Secret) bool { return listed.ID == s.ID })
		})
		if lists <= 3 {
			return 0
		}
		return time.Since(changed)
	}
	created := lag("a secret that was created", true)
	require.NoError(t, a.DeleteSecret(a.ctx, s.ID))
	longest := max(created, lag("no secret that was deleted", false))
	if longest == 0 {
		return "yes (list_lag=0s)"
	}
	within := (longest/(10*time.Second) + 1) * 10 * time.Second
	return fmt.Sprintf("no, but within %v (list_lag=%v)", within, within)
}

func expired(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "expired", Value: []byte("v")})
	past, until := time.Now().Add(-time.Hour), time.Now()
	_, err := a.UpdateSecret(a.ctx, s.ID, client.SecretUpdate{ExpiredAt: &past})
	if errors.Is(err, client.ErrInvalid) {
		// ABEJA takes no time that has passed. So let one pass, by ABEJA's clock if it tells it.
		now := s.CreatedAt.Time
		if now.IsZero() {
			now = time.Now()
		}
		soon := now.Add(2 * time.Second)
		until = until.Add(3 * time.Second)
		_, err = a.UpdateSecret(a.ctx, s.ID, client.SecretUpdate{ExpiredAt: &soon})
	}
	require.NoError(t, err)

	_, err = a.GetSecret(a.ctx, s.ID, withValues)
	for err == nil && time.Now().Before(until) {
		time.Sleep(200 * time.Millisecond)
		_, err = a.GetSecret(a.ctx, s.ID, withValues)
	}
	found := "yes (expired_is_404=false)"
	if err != nil {
		found = fmt.Sprint("no: ", statusOf(t, err))
		if errors.Is(err, client.ErrNotFound) {
			found += " (expired_is_404=true)"
		}
	}

	require.False(t, a.listed(t, s.ID)[0].ExpiredAt.IsZero(), "the list must tell that the secret has expired")
	_, err = a.UpdateSecret(a.ctx, s.ID, client.SecretUpdate{ExpiredAt: &time.Time{}})
	require.NoError(t, err)
	_, err = a.GetSecret(a.ctx, s.ID, withValues)
	require.NoError(t, err)
	return found
}

func clearing(t *testing.T, a *abeja) string {
	// cleared returns which of the two fields are clear after they were given this value, each alone.
	cleared := func(name string, value any) (fields []string) {
		expiry := time.Now().Add(24 * time.Hour)
		s := a.create(t, client.NewSecret{Name: name, Value: []byte("v"), SecretUpdate: client.SecretUpdate{Description: new("d"), ExpiredAt: &expiry}})
		for _, field := range []string{"description", "expired_at"} {
			a.raw(t, http.MethodPatch, "/secrets/"+s.ID, map[string]any{field: value})
		}
		got, err := a.GetSecret(a.ctx, s.ID, client.ReadOptions{})
		require.NoError(t, err)
		if got.Description == "" {
			fields = append(fields, "description")
		}
		if got.ExpiredAt.IsZero() {
			fields = append(fields, "expired_at")
		}
		return fields
	}
	null, empty := cleared("null", nil), cleared("empty", "")
	switch {
	case len(null) == 2 && len(empty) == 2:
		return "either clears both (clear=both)"
	case len(null) == 2 && len(empty) == 0:
		return "only null does (clear=null)"
	case len(null) == 0 && len(empty) == 2:
		return "only an empty text does (clear=empty)"
	}
	return fmt.Sprintf("null clears %q, an empty text %q", null, empty)
}

func listWithoutValues(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "listed", Value: []byte("v")})
	if len(a.listed(t, s.ID)[0].Versions) == 0 {
		return "no (list_omits_versions=true)"
	}
	return "yes (list_omits_versions=false)"
}

func getWithoutValues(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "got", Value: []byte("v")})
	got, err := a.GetSecret(a.ctx, s.ID, client.ReadOptions{})
	require.NoError(t, err)
	if len(got.Versions) == 0 {
		return "no (get_omits_versions=true)"
	}
	return "yes (get_omits_versions=false)"
}

// wellFormed looks at all records, those of others too, but asks for no values and tells only which
// fields are odd. The client is not asked: it may refuse them.
func wellFormed(t *testing.T, a *abeja) string {
	isText := func(field any) bool {
		text, _ := field.(string)
		return text != ""
	}
	isTime := func(field any) bool {
		text, _ := field.(string)
		_, err := time.Parse(time.RFC3339, text)
		return text == "" && (field == nil || field == "") || err == nil
	}
	isNumber := func(field any) bool {
		number, _ := field.(float64)
		return number >= 1
	}
	odd := map[string]bool{}
	look := func(record any, forms map[string]func(field any) bool) map[string]any {
		fields, _ := record.(map[string]any)
		for field, is := range forms {
			if !is(fields[field]) {
				odd[field] = true
			}
		}
		return fields
	}
	for offset, more := 0, true; more; offset += client.MaxPage {
		status, page := a.raw(t, http.MethodGet, fmt.Sprintf("/secrets?offset=%d&limit=%d", offset, client.MaxPage), nil)
		require.Equal(t, http.StatusOK, status)
		secrets, _ := page["secrets"].([]any)
		for _, record := range secrets {
			secret := look(record, map[string]func(any) bool{
				"id": isText, "name": isText, "created_at": isTime, "updated_at": isTime, "expired_at": isTime,
			})
			versions, _ := secret["versions"].([]any)
			for _, record := range versions {
				look(record, map[string]func(any) bool{
					"id": isText, "version": isNumber, "status": isText, "created_at": isTime, "updated_at": isTime,
				})
			}
		}
		more, _ = page["has_next"].(bool)
	}
	if len(odd) == 0 {
		return "yes"
	}
	return "no: odd are " + strings.Join(slices.Sorted(maps.Keys(odd)), ", ")
}

// rateLimit tells what has shown so far: to look for a limit would be a burden to ABEJA.
func rateLimit(_ *testing.T, a *abeja) string {
	switch {
	case !a.transport.limited.Load():
		return "not tried, since it would take a burst; none has shown in this run"
	case a.transport.retryAfter.Load():
		return "yes, and it comes with Retry-After (rate_limit_retry_after=true); how many calls a second: not tried"
	}
	return "yes, and it comes without Retry-After (rate_limit_retry_after=false); how many calls a second: not tried"
}

func lastVersion(t *testing.T, a *abeja) string {
	s := a.create(t, client.NewSecret{Name: "last", Value: []byte("v")})
	v := a.number(t, s.ID, 1)
	_, inactive := a.UpdateVersion(a.ctx, s.ID, v.ID, client.Inactive)
	if inactive == nil {
		_, err := a.UpdateVersion(a.ctx, s.ID, v.ID, client.Active)
		require.NoError(t, err)
	}
	deleted := a.DeleteVersion(a.ctx, s.ID, v.ID)

	may := func(err error) string {
		if err == nil {
			return "yes"
		}
		return fmt.Sprint("no: ", statusOf(t, err))
	}
	switch {
	case deleted == nil && inactive == nil:
		return "both (last_version_protected=false)"
	case deleted != nil && inactive != nil && may(deleted) == may(inactive):
		return fmt.Sprintf("neither: %d (last_version_protected=true)", statusOf(t, deleted))
	}
	return fmt.Sprintf("deleted: %s, made inactive: %s", may(deleted), may(inactive))
}

func largestValue(t *testing.T, a *abeja) string {
	const likely = 65536 // what AWS Secrets Manager takes
	tooLarge := func(size int) bool {
		s, err := a.tryToCreate(t, client.NewSecret{Name: fmt.Sprint("size_", size), Value: []byte(strings.Repeat("v", size))})
		if err != nil {
			require.ErrorIs(t, err, client.ErrInvalid)
			return true
		}
		require.NoError(t, a.DeleteSecret(a.ctx, s.ID))
		return false
	}
	if !tooLarge(likely + 1) {
		return fmt.Sprintf("more than %d bytes", likely)
	}
	largest := likely
	if tooLarge(likely) {
		largest = sort.Search(likely, func(size int) bool { return tooLarge(size + 1) })
	}
	return fmt.Sprintf("%d bytes (max_value_bytes=%d)", largest, largest)
}

func mostVersions(t *testing.T, a *abeja, deep bool) string {
	if !deep {
		return "the most versions: not tried, since it would take 101; -deep does"
	}
	s := a.create(t, client.NewSecret{Name: "most", Value: []byte("1")})
	for n := 2; n <= 101; n++ {
		_, err := a.CreateVersion(a.ctx, s.ID, fmt.Append(nil, n))
		if errors.Is(err, client.ErrInvalid) {
			return fmt.Sprintf("%d versions (max_versions=%d)", n-1, n-1)
		}
		require.NoError(t, err)
	}
	return "more than 100 versions"
}

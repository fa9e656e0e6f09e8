package live

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// contract is what docs/abeja-api.md says of ABEJA's API, as far as the client counts on it.
var contract = []struct {
	says  string
	check func(t *testing.T, a *abeja)
}{
	{"a credential that is not valid is refused with 401 or 403", badCredential},
	{"create secret makes a secret with a first, active version; get secret gives it, its value only if asked", createAndGet},
	{"a value is not empty, and its bytes come back as they were, in standard base64 on the wire", values},
	{"a name has letters, digits, _ and -, and does not end in a hyphen and six more characters", names},
	{"update secret changes what it gives, keeps the rest, and changes neither name nor value", update},
	{"lists of secrets come in pages of 1 to 100", pages},
	{"versions are numbered from 1, and listed in pages", versions},
	{"update version sets the status, and an inactive version has a value to read", status},
	{"delete version and delete secret delete for good", remove},
}

// refused says of a status what the client takes for a request that ABEJA refuses for what is in it.
func refused(status int) bool {
	return status >= 400 && status < 500 && !slices.Contains([]int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests,
	}, status)
}

// requireGone wants the error for an id that ABEJA does not know: 404 or 403.
func requireGone(t *testing.T, err error) {
	t.Helper()
	require.True(t, errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrUnauthorized), "%v", err)
}

var withValues = client.ReadOptions{Values: true}

func badCredential(t *testing.T, a *abeja) {
	_, err := a.as(t, client.Bearer("not-a-token")).ListSecrets(a.ctx, client.ListOptions{Limit: 1})
	require.ErrorIs(t, err, client.ErrUnauthorized)
}

func createAndGet(t *testing.T, a *abeja) {
	expiry := time.Date(2099, 12, 31, 9, 0, 0, 0, time.FixedZone("", 9*60*60))
	made := a.create(t, client.NewSecret{
		Name: "created", Value: []byte("first"),
		SecretUpdate: client.SecretUpdate{Description: new("says <what> & \"why\", in 日本語"), ExpiredAt: &expiry},
	})

	for _, opts := range []client.ReadOptions{{}, withValues} {
		got, err := a.GetSecret(a.ctx, made.ID, opts)
		require.NoError(t, err)
		for _, s := range []*client.Secret{made, got} {
			require.Equal(t, a.prefix+"created", s.Name)
			require.Equal(t, "says <what> & \"why\", in 日本語", s.Description)
			require.True(t, expiry.Equal(s.ExpiredAt.Time), "expired_at is %v", s.ExpiredAt)
			requireNow(t, s.CreatedAt)
			requireNow(t, s.UpdatedAt)
		}
		if !opts.Values && len(got.Versions) == 0 {
			continue // one of the unknowns
		}
		require.Len(t, got.Versions, 1)
		v := got.Versions[0]
		require.Equal(t, 1, v.Number)
		require.Equal(t, client.Active, v.Status)
		requireNow(t, v.CreatedAt)
		if opts.Values {
			require.Equal(t, "first", string(v.Value))
		} else {
			require.Nil(t, v.Value)
		}
	}
}

// requireNow wants a time that may be missing to be about now: one that lacks its offset would not be.
func requireNow(t *testing.T, got client.Time) {
	t.Helper()
	if !got.IsZero() {
		require.WithinDuration(t, time.Now(), got.Time, 30*time.Minute)
	}
}

func values(t *testing.T, a *abeja) {
	var every []byte
	for b := range 256 {
		every = append(every, byte(b))
	}
	made := a.create(t, client.NewSecret{Name: "value", Value: every})
	for i, value := range [][]byte{every, []byte("日本語\r\n"), {0}} {
		if i > 0 {
			_, err := a.CreateVersion(a.ctx, made.ID, value)
			require.NoError(t, err)
		}
		got, err := a.GetSecret(a.ctx, made.ID, withValues)
		require.NoError(t, err)
		newest := slices.MaxFunc(got.Versions, func(v, w client.Version) int { return v.Number - w.Number })
		require.Equal(t, value, newest.Value)

		_, version := a.raw(t, http.MethodGet, "/secrets/"+made.ID+"/versions/"+newest.ID+"?return_secret_value=True", nil)
		require.Equal(t, base64.StdEncoding.EncodeToString(value), version["value"])
	}

	_, err := a.tryToCreate(t, client.NewSecret{Name: "no_value", Value: []byte{}})
	require.ErrorIs(t, err, client.ErrInvalid)
	_, err = a.CreateVersion(a.ctx, made.ID, []byte{})
	require.ErrorIs(t, err, client.ErrInvalid)
	for _, body := range []map[string]any{{"value": "no base64!"}, {}} {
		status, _ := a.raw(t, http.MethodPost, "/secrets/"+made.ID+"/versions", body)
		require.True(t, refused(status), "%d for %v", status, body)
		body["name"] = a.prefix + "no_value"
		status, _ = a.raw(t, http.MethodPost, "/secrets", body)
		require.True(t, refused(status), "%d for %v", status, body)
	}
}

func names(t *testing.T, a *abeja) {
	for _, name := range []string{"aZ_9", "hyphen-and-seven77", "hyphen-and-five5"} {
		a.create(t, client.NewSecret{Name: name, Value: []byte("v")})
	}
	for _, name := range []string{"a.b", "a b", "a/b", "日本語", "db-secret", "-123456"} {
		_, err := a.tryToCreate(t, client.NewSecret{Name: name, Value: []byte("v")})
		require.ErrorIs(t, err, client.ErrInvalid, name)
	}
}

func update(t *testing.T, a *abeja) {
	made := a.create(t, client.NewSecret{Name: "updated", Value: []byte("v"), SecretUpdate: client.SecretUpdate{Description: new("before")}})
	description, expiry := "after", time.Now().Add(24*time.Hour).Truncate(time.Second)

	for _, change := range []client.SecretUpdate{{Description: &description}, {ExpiredAt: &expiry}} {
		_, err := a.UpdateSecret(a.ctx, made.ID, change)
		require.NoError(t, err)
	}
	got, err := a.GetSecret(a.ctx, made.ID, client.ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, "after", got.Description)
	require.True(t, expiry.Equal(got.ExpiredAt.Time), "expired_at is %v", got.ExpiredAt)

	// Cleared, by null or an empty text: that is one of the unknowns.
	_, err = a.UpdateSecret(a.ctx, made.ID, client.SecretUpdate{Description: new(""), ExpiredAt: &time.Time{}})
	require.NoError(t, err)
	got, err = a.GetSecret(a.ctx, made.ID, client.ReadOptions{})
	require.NoError(t, err)
	require.Empty(t, got.Description)
	require.True(t, got.ExpiredAt.IsZero(), "expired_at is %v", got.ExpiredAt)

	for _, body := range []map[string]any{{"expired_at": "tomorrow"}, {"integration_service_type": "another"}} {
		status, _ := a.raw(t, http.MethodPatch, "/secrets/"+made.ID, body)
		require.True(t, refused(status), "%d for %v", status, body)
	}
	// Refused or ignored:
	a.raw(t, http.MethodPatch, "/secrets/"+made.ID, map[string]any{"name": a.prefix + "renamed"})
	a.raw(t, http.MethodPatch, "/secrets/"+made.ID, map[string]any{"value": "b3RoZXI="})
	got, err = a.GetSecret(a.ctx, made.ID, withValues)
	require.NoError(t, err)
	require.Equal(t, a.prefix+"updated", got.Name)
	require.Len(t, got.Versions, 1)
	require.Equal(t, "v", string(got.Versions[0].Value))
}

// pages asks for no values, which would be other people's too.
func pages(t *testing.T, a *abeja) {
	var ids []string
	for _, name := range []string{"page_1", "page_2"} {
		ids = append(ids, a.create(t, client.NewSecret{Name: name, Value: []byte("v"), SecretUpdate: client.SecretUpdate{Description: &name}}).ID)
	}
	for _, s := range a.listed(t, ids...) {
		require.Equal(t, a.prefix+s.Description, s.Name)
		for _, v := range s.Versions {
			require.Nil(t, v.Value)
		}
	}

	first, err := a.ListSecrets(a.ctx, client.ListOptions{Limit: 1})
	require.NoError(t, err)
	require.Len(t, first.Secrets, 1)
	require.Equal(t, []any{0, 1, true}, []any{first.Offset, first.Limit, first.HasNext})
	beyond, err := a.ListSecrets(a.ctx, client.ListOptions{Offset: 1_000_000, Limit: 100})
	require.NoError(t, err)
	require.Empty(t, beyond.Secrets)
	require.Equal(t, []any{1_000_000, 100, false}, []any{beyond.Offset, beyond.Limit, beyond.HasNext})

	for _, query := range []string{"offset=0&limit=0", "offset=0&limit=101", "offset=-1&limit=10", "offset=x&limit=10"} {
		for _, path := range []string{"/secrets?", "/secrets/" + ids[0] + "/versions?"} {
			status, _ := a.raw(t, http.MethodGet, path+query, nil)
			require.True(t, refused(status), "%d for %s", status, query)
		}
	}
}

func versions(t *testing.T, a *abeja) {
	made := a.create(t, client.NewSecret{Name: "versions", Value: []byte("value 1")})
	ids := []string{""}
	for _, value := range []string{"value 2", "value 3"} {
		v, err := a.CreateVersion(a.ctx, made.ID, []byte(value))
		require.NoError(t, err)
		require.Equal(t, client.Active, v.Status)
		require.Equal(t, value, fmt.Sprint("value ", v.Number))
		ids = append(ids, v.ID)
	}

	for i, id := range ids[1:] {
		for _, opts := range []client.ReadOptions{{}, withValues} {
			v, err := a.GetVersion(a.ctx, made.ID, id, opts)
			require.NoError(t, err)
			require.Equal(t, i+2, v.Number)
			requireValue(t, opts, *v)
		}
	}

	for _, opts := range []client.ReadOptions{{}, withValues} {
		var numbers []int
		for _, want := range []struct {
			offset, length int
			hasNext        bool
		}{{0, 2, true}, {2, 1, false}, {3, 0, false}} {
			page, err := a.ListVersions(a.ctx, made.ID, client.ListOptions{Offset: want.offset, Limit: 2, ReadOptions: opts})
			require.NoError(t, err)
			require.Len(t, page.Versions, want.length)
			require.Equal(t, want.hasNext, page.Pagination.HasNext)
			require.Equal(t, want.offset, page.Pagination.Offset)
			require.Equal(t, 2, page.Pagination.Limit)
			for _, v := range page.Versions {
				numbers = append(numbers, v.Number)
				requireValue(t, opts, v)
			}
		}
		require.ElementsMatch(t, []int{1, 2, 3}, numbers)
	}
}

// requireValue wants a version of which the value tells the number to have it exactly if it was asked for.
func requireValue(t *testing.T, opts client.ReadOptions, v client.Version) {
	t.Helper()
	if opts.Values {
		require.Equal(t, fmt.Sprint("value ", v.Number), string(v.Value))
	} else {
		require.Nil(t, v.Value)
	}
}

func status(t *testing.T, a *abeja) {
	made := a.create(t, client.NewSecret{Name: "status", Value: []byte("value 1")})
	v, err := a.CreateVersion(a.ctx, made.ID, []byte("value 2"))
	require.NoError(t, err)
	first := a.number(t, made.ID, 1)
	// Which of the two is active now is one of the unknowns: so active comes first.
	for _, want := range []client.Status{client.Active, client.Inactive, client.Active} {
		changed, err := a.UpdateVersion(a.ctx, made.ID, first.ID, want)
		require.NoError(t, err)
		require.Equal(t, want, changed.Status)
		read, err := a.GetVersion(a.ctx, made.ID, first.ID, withValues)
		require.NoError(t, err)
		require.Equal(t, want, read.Status)
		require.Equal(t, "value 1", string(read.Value))
	}
	status, _ := a.raw(t, http.MethodPatch, "/secrets/"+made.ID+"/versions/"+v.ID, map[string]any{"status": "retired"})
	require.True(t, refused(status), "%d", status)
}

func remove(t *testing.T, a *abeja) {
	made := a.create(t, client.NewSecret{Name: "removed", Value: []byte("value 1")})
	_, err := a.CreateVersion(a.ctx, made.ID, []byte("value 2"))
	require.NoError(t, err)
	first := a.number(t, made.ID, 1)

	require.NoError(t, a.DeleteVersion(a.ctx, made.ID, first.ID))
	left, err := a.GetSecret(a.ctx, made.ID, withValues)
	require.NoError(t, err)
	require.Len(t, left.Versions, 1)
	require.Equal(t, 2, left.Versions[0].Number)
	_, err = a.GetVersion(a.ctx, made.ID, first.ID, client.ReadOptions{})
	requireGone(t, err)
	requireGone(t, a.DeleteVersion(a.ctx, made.ID, first.ID))

	require.NoError(t, a.DeleteSecret(a.ctx, made.ID))
	_, err = a.GetSecret(a.ctx, made.ID, client.ReadOptions{})
	requireGone(t, err)
	a.listUntil(t, "no secret that was deleted", func(mine []client.Secret) bool {
		return !slices.ContainsFunc(mine, func(s client.Secret) bool { return s.ID == made.ID })
	})
}

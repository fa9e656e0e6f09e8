package client

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestRequestsForVersions(t *testing.T) {
	t.Parallel()
	list := func(o ListOptions) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) { return c.ListVersions(ctx, secretID, o) }
	}
	get := func(o ReadOptions) func(context.Context, *Client) (any, error) {
		return func(ctx context.Context, c *Client) (any, error) {
			return c.GetVersion(ctx, secretID, versionID, o)
		}
	}
	all := "/secrets/" + secretID + "/versions"
	one := all + "/" + versionID
	for _, w := range []wireForm{
		{"list", list(ListOptions{}), versionPageJSON, "GET", all + "?limit=100&offset=0", ""},
		{
			"list a page with values", list(ListOptions{Offset: 3, Limit: 7, ReadOptions: ReadOptions{Values: true}}), versionPageJSON,
			"GET", all + "?limit=7&offset=3&return_secret_value=True", "",
		},
		{"get", get(ReadOptions{}), versionJSON, "GET", one, ""},
		{"get with value", get(ReadOptions{Values: true}), versionJSON, "GET", one + "?return_secret_value=True", ""},
		{"create", func(ctx context.Context, c *Client) (any, error) {
			return c.CreateVersion(ctx, secretID, []byte(value))
		}, versionJSON, "POST", all, `{"value":"` + valueBase64 + `"}`},
		{"update", func(ctx context.Context, c *Client) (any, error) {
			return c.UpdateVersion(ctx, secretID, versionID, Inactive)
		}, versionJSON, "PATCH", one, `{"status":"inactive"}`},
		{"delete", func(ctx context.Context, c *Client) (any, error) {
			return nil, c.DeleteVersion(ctx, secretID, versionID)
		}, deletedJSON, "DELETE", one, ""},
	} {
		t.Run(w.name, w.check)
	}
}

func TestAVersionIsDecoded(t *testing.T) {
	t.Parallel()
	answer := strings.Replace(versionJSON, `"version":1`, `"version":12,"value":"`+valueBase64+`"`, 1)
	want := Version{
		ID: versionID, OrganizationID: org, SecretID: secretID, Number: 12, Status: Active, Provider: "aws-secret-manager",
		CreatedAt: Time{time.Date(2024, 5, 1, 0, 0, 0, 123456000, time.UTC)},
		UpdatedAt: Time{time.Date(2024, 5, 1, 0, 5, 0, 0, time.UTC)},
		Value:     []byte(value),
	}
	got, err := newClient(t, always(200, answer)).GetVersion(t.Context(), secretID, versionID, ReadOptions{Values: true})
	require.NoError(t, err)
	require.Equal(t, &want, got)

	page, err := newClient(t, always(200, `{"pagination":{"count":1,"has_next":true,"limit":100,"offset":3},"versions":[`+answer+`]}`)).
		ListVersions(t.Context(), secretID, ListOptions{Offset: 3})
	require.NoError(t, err)
	require.Equal(t, []Version{want}, page.Versions)
	require.Equal(t, 1, page.Pagination.Count)
	require.Equal(t, 100, page.Pagination.Limit)
	require.Equal(t, 3, page.Pagination.Offset)
	require.True(t, page.Pagination.HasNext)

	least, err := newClient(t, always(200, `{"id":"4053595942757","version":1}`)).GetVersion(t.Context(), secretID, versionID, ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, &Version{ID: versionID, Number: 1}, least)
}

func TestAnAnswerThatIsNotTheVersionAskedForIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"another id":           {`"id":"4053595942757"`, `"id":"4053595942758"`},
		"no id":                {`"id":"4053595942757"`, `"id":""`},
		"another secret":       {`"secret_id":"3053595942757"`, `"secret_id":"3053595942758"`},
		"another organization": {`"organization_id":"1410000000000"`, `"organization_id":"1410000000009"`},
		"no number":            {`"version":1`, `"version":-1`},
	} {
		require.Contains(t, versionJSON, change[0], name)
		answer := strings.Replace(versionJSON, change[0], change[1], 1)
		c := newClient(t, always(200, answer))
		got, err := c.GetVersion(t.Context(), secretID, versionID, ReadOptions{})
		requireKind(t, ErrBadAnswer, err, name)
		require.Nil(t, got, name)
		updated, err := c.UpdateVersion(t.Context(), secretID, versionID, Active)
		requireKind(t, ErrBadAnswer, err, name)
		require.Nil(t, updated, name)
		if name != "another id" { // what is not known before ABEJA says it
			made, err := c.CreateVersion(t.Context(), secretID, []byte(value))
			requireKind(t, ErrBadAnswer, err, name)
			require.True(t, asError(t, err).OutcomeUnknown(), name)
			require.Nil(t, made, name)
			page, err := newClient(t, always(200, `{"versions":[`+versionJSON+`,`+answer+`]}`)).ListVersions(t.Context(), secretID, ListOptions{})
			if strings.HasPrefix(name, "no ") { // costs only itself
				require.NoError(t, err, name)
				require.Len(t, page.Versions, 1, name)
				require.Len(t, page.Odd, 1, name)
				require.Equal(t, Active, page.Odd[0].Status, name)
				continue
			}
			requireKind(t, ErrBadAnswer, err, name)
			require.Nil(t, page, name)
		}
	}
	for _, answer := range []string{`{}`, `null`, `{"versions":null}`, secretPageJSON} {
		_, err := newClient(t, always(200, answer)).ListVersions(t.Context(), secretID, ListOptions{})
		requireKind(t, ErrBadAnswer, err, answer)
	}
}

func TestAVersionWhoseValueCannotBeUnderstoodIsOdd(t *testing.T) {
	t.Parallel()
	answer := strings.Replace(versionJSON, `"version":1`, `"version":1,"value":"?"`, 1)
	c := newClient(t, always(200, answer))
	v, err := c.GetVersion(t.Context(), secretID, versionID, ReadOptions{Values: true})
	require.NoError(t, err)
	require.True(t, v.Odd)
	require.Nil(t, v.Value)
	v, err = c.UpdateVersion(t.Context(), secretID, versionID, Active)
	require.NoError(t, err)
	require.True(t, v.Odd)
}

func TestVersionsRoundTripThroughTheSimulator(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{})
	id := sim.Create("a", []byte("first"))
	c := newClient(t, sim.Transport())
	ctx := t.Context()

	made, err := c.CreateVersion(ctx, id, []byte(value))
	require.NoError(t, err)
	require.Equal(t, 2, made.Number)
	require.Equal(t, Active, made.Status)
	updated, err := c.UpdateVersion(ctx, id, made.ID, Inactive)
	require.NoError(t, err)
	require.Equal(t, Inactive, updated.Status)
	read, err := c.GetVersion(ctx, id, made.ID, ReadOptions{Values: true})
	require.NoError(t, err)
	require.Equal(t, value, string(read.Value))

	page, err := c.ListVersions(ctx, id, ListOptions{Offset: 1, Limit: 1, ReadOptions: ReadOptions{Values: true}})
	require.NoError(t, err)
	require.Equal(t, []Version{*read}, page.Versions)
	require.False(t, page.Pagination.HasNext)

	require.NoError(t, c.DeleteVersion(ctx, id, made.ID))
	require.ErrorIs(t, c.DeleteVersion(ctx, id, made.ID), ErrNotFound)
	_, err = c.GetVersion(ctx, id, made.ID, ReadOptions{})
	require.ErrorIs(t, err, ErrNotFound)
}

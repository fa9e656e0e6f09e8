package clients

import (
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

func goKV1(t *testing.T) {
	ctx := t.Context()
	kv := as(t, writer).KVv1("abeja")
	const name = "secrets/go_v1"

	_, err := kv.Get(ctx, name)
	require.ErrorIs(t, err, api.ErrSecretNotFound)
	require.NoError(t, kv.Put(ctx, name, map[string]any{"value": "first", "description": "of the orders service"}))
	require.NoError(t, kv.Put(ctx, name, map[string]any{"value": "second"}))
	got, err := kv.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "second", got.Data["value"])
	require.Equal(t, "of the orders service", got.Data["description"])

	require.NoError(t, kv.Delete(ctx, name))
	_, err = kv.Get(ctx, name)
	require.ErrorIs(t, err, api.ErrSecretNotFound)
}

func goKV2(t *testing.T) {
	ctx := t.Context()
	kv := as(t, writer).KVv2("abeja")
	const name = "go_v2"

	data := func(version int) map[string]any {
		t.Helper()
		got, err := kv.GetVersion(ctx, name, version)
		require.NoError(t, err)
		require.Equal(t, version, got.VersionMetadata.Version)
		return got.Data
	}
	// current demands what a read without a version returns; nil when that version is deleted.
	current := func(version int, want map[string]any) {
		t.Helper()
		got, err := kv.Get(ctx, name)
		require.NoError(t, err)
		require.Equal(t, version, got.VersionMetadata.Version)
		require.Equal(t, want, got.Data)
		require.Equal(t, want == nil, !got.VersionMetadata.DeletionTime.IsZero())
	}
	description := func(want map[string]any) {
		t.Helper()
		got, err := kv.GetMetadata(ctx, name)
		require.NoError(t, err)
		require.Equal(t, want, got.CustomMetadata)
	}
	refused := func(err error, wording string) {
		t.Helper()
		var answer *api.ResponseError
		require.ErrorAs(t, err, &answer)
		require.Equal(t, 400, answer.StatusCode)
		require.ErrorContains(t, err, wording)
	}
	const casMismatch = "check-and-set parameter did not match the current version"

	_, err := kv.Get(ctx, name)
	require.ErrorIs(t, err, api.ErrSecretNotFound)
	_, err = kv.Patch(ctx, name, map[string]any{"user": "web"})
	require.ErrorIs(t, err, api.ErrSecretNotFound)

	// 1: put
	first := map[string]any{"user": "app", "password": "first"}
	put, err := kv.Put(ctx, name, first, api.WithCheckAndSet(0))
	require.NoError(t, err)
	require.Equal(t, 1, put.VersionMetadata.Version)
	require.False(t, put.VersionMetadata.CreatedTime.IsZero())
	current(1, first)
	_, err = kv.Put(ctx, name, first, api.WithCheckAndSet(0))
	refused(err, casMismatch)

	// 2, 3: patch
	patched, err := kv.Patch(ctx, name, map[string]any{"password": "second"}, api.WithMergeMethod(api.KVMergeMethodPatch))
	require.NoError(t, err)
	require.Equal(t, 2, patched.VersionMetadata.Version)
	current(2, map[string]any{"user": "app", "password": "second"})
	_, err = kv.Patch(ctx, name, map[string]any{"password": "third"}, api.WithMergeMethod(api.KVMergeMethodReadWrite))
	require.NoError(t, err)
	current(3, map[string]any{"user": "app", "password": "third"})
	_, err = kv.Patch(ctx, name, map[string]any{"password": "fourth"}, api.WithCheckAndSet(2))
	refused(err, casMismatch)

	// 4: put over a version that is known
	fourth := map[string]any{"value": "fourth"}
	_, err = kv.Put(ctx, name, fourth, api.WithCheckAndSet(3))
	require.NoError(t, err)
	current(4, fourth)
	require.Equal(t, first, data(1))

	// 5: rollback
	_, err = kv.Rollback(ctx, name, 1)
	require.NoError(t, err)
	current(5, first)

	require.NoError(t, kv.Delete(ctx, name))
	current(5, nil)
	_, err = kv.Rollback(ctx, name, 5)
	require.ErrorContains(t, err, "no secret found")
	require.NoError(t, kv.Undelete(ctx, name, []int{5}))
	current(5, first)

	require.NoError(t, kv.DeleteVersions(ctx, name, []int{1, 2}))
	require.Nil(t, data(1))
	require.NoError(t, kv.Undelete(ctx, name, []int{1}))
	require.Equal(t, first, data(1))

	require.NoError(t, kv.PutMetadata(ctx, name, api.KVMetadataPutInput{CustomMetadata: map[string]any{"description": "of the orders service"}}))
	description(map[string]any{"description": "of the orders service"})
	require.NoError(t, kv.PatchMetadata(ctx, name, api.KVMetadataPatchInput{CustomMetadata: map[string]any{"description": "of all services"}}))
	description(map[string]any{"description": "of all services"})
	got, err := kv.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"description": "of all services"}, got.CustomMetadata)
	require.NoError(t, kv.PatchMetadata(ctx, name, api.KVMetadataPatchInput{CustomMetadata: map[string]any{}}))
	description(nil)
	refused(kv.PutMetadata(ctx, name, api.KVMetadataPutInput{MaxVersions: 3}), "max_versions")
	require.NoError(t, kv.PatchMetadata(ctx, name, api.KVMetadataPatchInput{CustomMetadata: map[string]any{"team": "orders"}}))
	description(map[string]any{"team": "orders"})
	require.NoError(t, kv.PatchMetadata(ctx, name, api.KVMetadataPatchInput{CustomMetadata: map[string]any{}}))
	require.NoError(t, kv.PutMetadata(ctx, "go_v2_early", api.KVMetadataPutInput{CustomMetadata: map[string]any{"team": "orders"}}))
	_, err = kv.Put(ctx, "go_v2_early", map[string]any{"value": "first"})
	require.NoError(t, err)
	early, err := kv.Get(ctx, "go_v2_early")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"team": "orders"}, early.CustomMetadata)
	require.NoError(t, kv.DeleteMetadata(ctx, "go_v2_early"))

	require.NoError(t, kv.Destroy(ctx, name, []int{3}))
	destroyed, err := kv.GetVersion(ctx, name, 3)
	require.NoError(t, err)
	require.Nil(t, destroyed.Data)
	require.True(t, destroyed.VersionMetadata.Destroyed)
	_, err = kv.Rollback(ctx, name, 3)
	require.ErrorContains(t, err, "no secret found")

	versions, err := kv.GetVersionsAsList(ctx, name)
	require.NoError(t, err)
	require.Len(t, versions, 5)
	for i, v := range versions {
		n := i + 1
		require.Equal(t, n, v.Version)
		require.Equal(t, n == 3, v.Destroyed, n)
		require.Equal(t, n == 2, !v.DeletionTime.IsZero(), n)
	}
	metadata, err := kv.GetMetadata(ctx, name)
	require.NoError(t, err)
	require.Equal(t, 5, metadata.CurrentVersion)
	require.Len(t, metadata.Versions, 5)

	// A rollback to bytes restores the bytes.
	secret := as(t, writer).KVv1("abeja")
	inBase64 := map[string]any{"value": "/wAB/g==", "encoding": "base64"}
	require.NoError(t, secret.Put(ctx, "secrets/"+name, inBase64))
	current(6, inBase64)
	_, err = kv.Patch(ctx, name, map[string]any{"user": "web"}, api.WithMergeMethod(api.KVMergeMethodPatch))
	refused(err, "bytes that are not text")
	_, err = kv.Put(ctx, name, first)
	require.NoError(t, err)
	_, err = kv.Rollback(ctx, name, 6)
	require.NoError(t, err)
	flat, err := secret.Get(ctx, "secrets/"+name)
	require.NoError(t, err)
	require.Equal(t, "/wAB/g==", flat.Data["value"])
	require.Equal(t, "base64", flat.Data["encoding"])

	require.NoError(t, kv.DeleteMetadata(ctx, name))
	_, err = kv.Get(ctx, name)
	require.ErrorIs(t, err, api.ErrSecretNotFound)
	_, err = kv.GetMetadata(ctx, name)
	require.ErrorIs(t, err, api.ErrSecretNotFound)
}

// Package terraform holds examples/terraform against the engine: its HCL, the fields of the config, and the
// paths of the policies.
package terraform

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
)

// example returns the resources of the example by type and name.
func example(t *testing.T) map[string]*hclsyntax.Block {
	files, err := filepath.Glob("../../examples/terraform/*.tf")
	require.NoError(t, err)
	require.Len(t, files, 3)
	parser := hclparse.NewParser()
	resources := map[string]*hclsyntax.Block{}
	for _, name := range files {
		file, problems := parser.ParseHCLFile(name)
		require.False(t, problems.HasErrors(), problems)
		for _, block := range file.Body.(*hclsyntax.Body).Blocks {
			if block.Type == "resource" {
				resources[strings.Join(block.Labels, ".")] = block
			}
		}
	}
	return resources
}

func openAPI(t *testing.T) *framework.OASDocument {
	view := &logical.StaticSystemView{PluginEnvironment: &logical.PluginEnvironment{VaultVersion: "1.21.2"}}
	b := enginetest.Start(t, backend.Factory(backend.Build{}), &logical.InmemStorage{}, view, nil)
	resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation})
	require.NoError(t, err)
	return resp.Data["openapi"].(*framework.OASDocument)
}

func TestEachFieldOfTheConfigIsOneOfTheEngine(t *testing.T) {
	t.Parallel()
	fields := openAPI(t).Components.Schemas["AbejaConfigureRequest"].Properties
	call, ok := example(t)["vault_generic_endpoint.config"].Body.Attributes["data_json"].Expr.(*hclsyntax.FunctionCallExpr)
	require.True(t, ok)
	require.Equal(t, "jsonencode", call.Name)
	items := call.Args[0].(*hclsyntax.ObjectConsExpr).Items
	require.NotEmpty(t, items)
	for _, item := range items {
		name := hcl.ExprAsKeyword(item.KeyExpr)
		require.Contains(t, fields, name)
		value, problems := item.ValueExpr.Value(nil)
		if problems.HasErrors() {
			continue // a variable: text, as is its field
		}
		isNumber := fields[name].Type == "integer" || fields[name].Format == "duration"
		require.Equal(t, value.Type().FriendlyName() == "number", isNumber, name)
	}
}

func TestTheMountIsOfThePluginsType(t *testing.T) {
	t.Parallel()
	kind, problems := example(t)["vault_mount.abeja"].Body.Attributes["type"].Expr.Value(nil)
	require.False(t, problems.HasErrors(), problems)
	require.Equal(t, "vault-plugin-secrets-abeja", kind.AsString())
}

var policyPath = regexp.MustCompile(`path "abeja/([a-z]+)(/\*)?"`)

func TestEachPolicyIsAboutPathsOfTheEngine(t *testing.T) {
	t.Parallel()
	paths := openAPI(t).Paths
	policies := 0
	for name, block := range example(t) {
		if !strings.HasPrefix(name, "vault_policy.") {
			continue
		}
		policies++
		text, problems := block.Body.Attributes["policy"].Expr.Value(nil)
		require.False(t, problems.HasErrors(), problems)
		match := policyPath.FindStringSubmatch(text.AsString())
		require.NotNil(t, match, name)
		path := "/" + match[1]
		if match[2] != "" {
			path += "/"
		}
		require.Contains(t, paths, path, name)
	}
	require.Equal(t, 3, policies)
}

package e2e

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

type volumeMount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
}

// helmValues is what the tests look at in docs/helm-values.yaml.
type helmValues struct {
	Server struct {
		ExtraInitContainers []struct {
			Name, Image  string
			Command      []string
			VolumeMounts []volumeMount `yaml:"volumeMounts"`
		} `yaml:"extraInitContainers"`
		Volumes []struct {
			Name string
		}
		VolumeMounts []volumeMount `yaml:"volumeMounts"`
		HA           struct {
			Raft struct {
				Config string
			}
		} `yaml:"ha"`
	}
}

func readHelmValues(t *testing.T) (v helmValues) {
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "docs/helm-values.yaml")), &v))
	return v
}

func TestHelmValuesPutThePluginWhereVaultLooksForIt(t *testing.T) {
	t.Parallel()
	server := readHelmValues(t).Server
	at := map[string]string{} // where Vault has each volume
	for _, mount := range server.VolumeMounts {
		at[mount.Name] = mount.MountPath
	}
	var volumes []string
	for _, volume := range server.Volumes {
		volumes = append(volumes, volume.Name)
	}
	require.ElementsMatch(t, volumes, slices.Collect(maps.Keys(at)))

	require.NotEmpty(t, server.ExtraInitContainers)
	dockerfile := read(t, "Dockerfile")
	for _, container := range server.ExtraInitContainers {
		require.Len(t, container.VolumeMounts, 1)
		volume := container.VolumeMounts[0]
		require.Len(t, container.Command, 3)
		source, target := container.Command[1], container.Command[2]
		require.Equal(t, volume.MountPath+"/", target)
		require.Regexp(t, `(?m)^plugin_directory = "`+regexp.QuoteMeta(at[volume.Name])+`"$`, server.HA.Raft.Config)

		// The image has the file under the name that ends in the image's version.
		_, version, _ := strings.Cut(path.Base(container.Image), ":")
		before, found := strings.CutSuffix(source, version)
		require.True(t, found, "%s is not of version %s", source, version)
		require.Contains(t, dockerfile, before+"${VERSION}")
	}
}

func TestVaultTakesTheConfigurationInTheHelmValues(t *testing.T) {
	t.Parallel()
	if programs.OpenBao {
		t.Skip("the values are for HashiCorp's chart, which runs HashiCorp's image")
	}
	config := readHelmValues(t).Server.HA.Raft.Config
	// What is there in a pod alone.
	for _, here := range [][2]string{
		{`"[::]:8200"`, `"127.0.0.1:0"`},
		{`"[::]:8201"`, `"127.0.0.1:0"`},
		{`tls_cert_file   = "/vault/tls/tls.crt"`, `tls_disable = true`},
		{`tls_key_file    = "/vault/tls/tls.key"`, ``},
		{`"/vault/data"`, `"` + t.TempDir() + `"`},
		{`service_registration "kubernetes" {}`, ``},
	} {
		require.Contains(t, config, here[0])
		config = strings.ReplaceAll(config, here[0], here[1])
	}
	file := filepath.Join(t.TempDir(), "vault.hcl")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))

	cmd := exec.Command(filepath.Join(programs.Bin, "vault"), "server", "-test-verify-only", "-config="+file)
	cmd.Env = []string{
		"HOME=" + t.TempDir(), "TMPDIR=" + programs.TempDir, // and what the chart sets:
		"VAULT_API_ADDR=https://127.0.0.1:8200", "VAULT_CLUSTER_ADDR=https://127.0.0.1:8201", "VAULT_RAFT_NODE_ID=vault-0",
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Storage: raft")
	require.NotContains(t, string(out), "unknown or unsupported field")
}

func TestSystemdUnitsOfOperationsAreWellFormed(t *testing.T) {
	t.Parallel()
	units := 0
	for _, section := range sections(read(t, "docs/operations.md")) {
		for _, unit := range blocksOf(section, "ini") {
			units++
			require.Regexp(t, `^\[[A-Z][a-z]+\]\n(#.*\n|[A-Z][A-Za-z]+=\S.*\n)+$`, unit)
		}
	}
	require.NotZero(t, units)
}

var link = regexp.MustCompile(`\]\(([^)]*)\)`)

func TestLinksOfOperationsAndTroubleshootingLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"operations.md", "troubleshooting.md"} {
		for _, match := range link.FindAllStringSubmatch(read(t, "docs/"+page), -1) {
			if strings.HasPrefix(match[1], "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(strings.Join(strings.Fields(match[1]), ""), "#")
			if file == "" {
				file = page
			}
			target := read(t, filepath.Join("docs", file))
			if anchor == "" {
				continue
			}
			var anchors []string
			for heading := range sections(target) {
				anchors = append(anchors, anchorOf(heading))
			}
			require.Contains(t, anchors, anchor, "%s links to %s", page, match[1])
		}
	}
}

// anchorOf returns the name by which GitHub links to a heading.
func anchorOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case strings.ContainsRune("`'.,:/?!()", r):
			return -1
		}
		return r
	}, strings.ToLower(heading))
}

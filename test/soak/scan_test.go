package soak

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// marks are what every secret of a run is made of, and what is then looked for.
type marks struct {
	letters string // the same in every text encoding
	signs   string // other in each of them
	forms   map[string][]byte
}

func newMarks(random *rand.Rand) *marks {
	m := &marks{forms: map[string][]byte{}}
	alphabet := []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
	for range 20 {
		m.letters += string(alphabet[random.IntN(len(alphabet))])
	}
	signs := []byte("\"\\<>&%+/=?#;'`{}")
	random.Shuffle(len(signs), func(i, j int) { signs[i], signs[j] = signs[j], signs[i] })
	m.signs = string(signs)
	m.add("letters", m.letters)
	m.add("signs", m.signs)
	return m
}

// secret makes a secret that bears the marks at its beginning and at its end.
func (m *marks) secret(what string) string {
	return m.letters + m.signs + what + m.signs + m.letters
}

// add looks for a text too.
func (m *marks) add(what, text string) {
	for encoding, form := range vaulttest.Forms(text) {
		m.forms[what+" "+encoding] = []byte(form)
	}
}

// scan returns where and in which form a mark is found.
func (m *marks) scan(places map[string][]byte) (hits []string) {
	for _, place := range slices.Sorted(maps.Keys(places)) {
		for _, form := range slices.Sorted(maps.Keys(m.forms)) {
			if at := bytes.Index(places[place], m.forms[form]); at >= 0 {
				around := places[place][max(0, at-200):min(len(places[place]), at+100)]
				hits = append(hits, fmt.Sprintf("%s: %s: %q", place, form, around))
			}
		}
	}
	return hits
}

// files adds all files below a directory to places.
func files(t *testing.T, places map[string][]byte, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		places[path] = content
		return err
	})
	require.NoError(t, err)
}

// unpack adds the files of a tar.gz to places.
func unpack(t *testing.T, places map[string][]byte, name string, archive []byte) {
	t.Helper()
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	require.NoError(t, err)
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err == io.EOF {
			return
		}
		require.NoError(t, err)
		content, err := io.ReadAll(files)
		require.NoError(t, err)
		places[name+"/"+header.Name] = content
	}
}

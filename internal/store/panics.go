package store

import "fmt"

// recovering turns a panic of f into an error. Vault recovers panics in its own goroutines only:
// one in a goroutine of the store would end the plugin's process and every mount that it serves.
// The panic's value is left out, since it may hold what the goroutine was working on.
func (st *Stats) recovering(f func() error) func() error {
	return func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				st.Panics.Add(1)
				err = fmt.Errorf("internal error (%T): this is a bug of the plugin", r)
			}
		}()
		return f()
	}
}

package backend

import (
	"context"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/errutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// Nodes that stand by may serve requests by themselves: OpenBao's from 2.5 on, and the performance
// standbys of Vault Enterprise. Each has a process of the plugin, with locks and names of its own, and
// learns of a write of the active node's storage some 75 ms after it was answered (as measured with
// OpenBao). So that what one node has acknowledged every node shows, all that is about secrets is
// done by the active node, to which these servers forward what says that it needs it.

// forwarding makes the operations on secrets say so. Those that read need not, if the config lets a
// node give answers of its own.
func (b *backend) forwarding(paths []*framework.Path) []*framework.Path {
	for _, p := range paths {
		for op, handler := range p.Operations {
			operation := handler.(*framework.PathOperation)
			operation.ForwardPerformanceStandby = true
			if isRead(op) {
				p.Operations[op] = standbyRead{operation, b}
			}
		}
	}
	return paths
}

// standbyRead is an operation that a standby may do by itself if the config says so.
type standbyRead struct {
	*framework.PathOperation
	b *backend
}

// Properties implements framework.OperationHandler.
func (r standbyRead) Properties() framework.OperationProperties {
	properties := r.PathOperation.Properties()
	m := r.b.mounted.Load()
	properties.ForwardPerformanceStandby = m == nil || m.config.StandbyMaxAge == 0
	return properties
}

// loadForStandby loads the config before an operation that a standby may do by itself, since the config
// decides whether it may. The handler reports an error, if there is one.
func (b *backend) loadForStandby(ctx context.Context, req *logical.Request) {
	if b.mounted.Load() != nil {
		return
	}
	if path := b.Route(req.Path); path != nil {
		if _, ok := path.Operations[req.Operation].(standbyRead); ok {
			b.mount(ctx, req)
		}
	}
}

// standsBy reports whether this node only stands by. It costs a call to Vault's process.
func (b *backend) standsBy() bool {
	return b.System().ReplicationState().HasState(consts.ReplicationPerformanceStandby)
}

// checkedElsewhere is what the existence check of a standby returns: nobody knows but the active node
// what was created or deleted a moment ago. OpenBao forwards the whole request for the text of an
// error that the caller may see (http/handler.go in its v2.6.2), and the active node checks anew. The
// standbys of Vault Enterprise could not be tried: they answer from the names that they know.
func (b *backend) checkedElsewhere(ctx context.Context) error {
	if !b.standsBy() {
		return nil
	}
	if env, err := b.System().PluginEnv(ctx); err != nil || strings.Contains(env.VaultVersionMetadata, "ent") {
		return nil
	}
	return errutil.UserError{Err: logical.ErrReadOnly.Error()} // bare: only so it comes through the plugin's boundary
}

// minStandbyAge is how old a standby's own answer may be at the least: names that do not exist are
// listed for once in 5 seconds.
const minStandbyAge = 5 * time.Second

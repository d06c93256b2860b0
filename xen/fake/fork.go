package fake

import (
	"context"

	"kxsh/xen"
)

// Fork implements xen.Domain.
func (d *domain) Fork(context.Context, *xen.Fork) (xen.Domain, error) { return nil, xen.ErrNoFork }

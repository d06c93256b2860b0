package hosted

import (
	"context"

	"kxsh/xen"
)

// Fork implements xen.Domain.
func (d *Domain) Fork(context.Context, *xen.Fork) (xen.Domain, error) { return nil, xen.ErrNoFork }

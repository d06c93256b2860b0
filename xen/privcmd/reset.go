package privcmd

import (
	"context"

	"kxsh/xen"
)

// Reset implements xen.Domain; here no domain can be.
func (d *Domain) Reset(context.Context, *xen.Config) (xen.Domain, error) { return nil, xen.ErrNotBlank }

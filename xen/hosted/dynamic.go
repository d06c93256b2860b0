package hosted

import (
	"errors"

	"kxsh/xen"
)

// Map implements xen.Domain.
func (d *Domain) Map([]xen.Shared, []xen.Mapping) error { return errors.ErrUnsupported }

// Unmap implements xen.Domain.
func (d *Domain) Unmap(xen.Range) error { return errors.ErrUnsupported }

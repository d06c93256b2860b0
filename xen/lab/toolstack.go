package lab

import (
	_ "embed"
)

//go:embed toolstack.sh
var toolstackScript string

func (m *machine) toolstack(c *cpio) error {
	c.text("lab/setup", 0o644, toolstackScript)
	return nil
}

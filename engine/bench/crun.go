package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// container is what crun is to run: a program alone in a file system of its own, read-only, with namespaces, without a cgroup or a filter of system calls: the least of a container.
type container struct {
	Version string `json:"ociVersion"`
	Process struct {
		User            struct{} `json:"user"`
		Args            []string `json:"args"`
		Cwd             string   `json:"cwd"`
		NoNewPrivileges bool     `json:"noNewPrivileges"`
	} `json:"process"`
	Root struct {
		Path     string `json:"path"`
		ReadOnly bool   `json:"readonly"`
	} `json:"root"`
	Mounts []struct{} `json:"mounts"`
	Linux  struct {
		Namespaces []namespace `json:"namespaces"`
	} `json:"linux"`
}

type namespace struct {
	Type string `json:"type"`
}

// hybrid is where cgroups of version 2 are beside those of version 1, which crun refuses, also where it is told to make none.
const hybrid = "/sys/fs/cgroup/unified"

// crun starts a spawner of containers, from crun's own start to the first instruction of main of the same static program. nil, and says why, where there is no working crun.
func (b *Bench) crun(ctx context.Context, program string) (*spawner, error) {
	path, err := tool("crun", "crun")
	if err != nil {
		b.without("%v", err)
		return nil, nil
	}
	spawn, err := b.program("spawn")
	if err != nil {
		return nil, err
	}
	bundle := filepath.Join(b.dir, "container")
	if err := makeBundle(bundle, program); err != nil {
		return nil, err
	}
	argv := []string{path, "--cgroup-manager=disabled", "--root", filepath.Join(b.dir, "crun"), "run", "--bundle", bundle, "kxsh-bench"}
	var apart []string
	if _, err := os.Stat(filepath.Join(hybrid, "cgroup.procs")); err == nil {
		apart = []string{"unshare", "--mount", "sh", "-c", "umount " + hybrid + ` && exec "$@"`, "sh"}
	}
	trial := slices.Concat(apart, argv)
	if text, err := waited(ctx, trial...).CombinedOutput(); err != nil {
		b.without("crun: %v: %s", err, lastLine(string(text)))
		return nil, nil
	}
	return b.spawning(ctx, "crun run", slices.Concat(apart, []string{spawn}, argv))
}

// makeBundle makes a folder that crun runs the program from.
func makeBundle(dir, program string) (err error) {
	for _, d := range []string{"proc", "dev"} { // crun wants them
		if err := os.MkdirAll(filepath.Join(dir, "rootfs", d), 0o755); err != nil {
			return err
		}
	}
	var c container
	c.Version = "1.0.0"
	c.Process.Args, c.Process.Cwd, c.Process.NoNewPrivileges = []string{"/" + filepath.Base(program)}, "/", true
	c.Root.Path, c.Root.ReadOnly = "rootfs", true
	c.Mounts = []struct{}{}
	for _, of := range strings.Fields("pid mount ipc uts network") {
		c.Linux.Namespaces = append(c.Linux.Namespaces, namespace{of})
	}
	text, err := json.Marshal(c)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
	}
	if err != nil {
		return err
	}
	from, err := os.Open(program)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "rootfs", filepath.Base(program)), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err = io.Copy(to, from); err != nil {
		to.Close()
		return fmt.Errorf("%s: %w", to.Name(), err)
	}
	return to.Close()
}

package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A packageSet is a group of Debian packages that is fetched once, verified by apt and unpacked
// into a folder of the user's cache.
type packageSet struct {
	name  string   // of the folder, and in errors
	names []string // packages; "NAME>PREFIX" is the dependency of NAME whose name begins with PREFIX
	deps  bool     // with everything they depend on, as for an empty machine
	keep  []string // patterns of files and folders to unpack, as in path.Match
}

// layout is raised whenever what is unpacked changes, so that an older cache is not used.
const layout = "2"

// aptConf is read after the machine's configuration: its package sources and keys are used, but
// every folder apt writes or locks is ours, and the machine counts as empty. The hooks cleared here would
// touch folders of root's.
const aptConf = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::State "%[1]s";
Dir::State::lists "%[1]s/lists";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::Retries "3";
APT::Sandbox::User "";
APT::Install-Recommends "false";
`

// fetch returns the folder that holds the unpacked set, after fetching it if this user has not yet.
// progress is told what takes time.
func (s packageSet) fetch(ctx context.Context, progress io.Writer) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("lab: no cache folder: %w: set HOME or XDG_CACHE_HOME", err)
	}
	cache = filepath.Join(cache, "kxsh")
	root := filepath.Join(cache, fmt.Sprintf("lab-%s-%s", s.name, s.hash()))
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	apt := filepath.Join(cache, "lab-apt")
	if err := errors.Join(os.MkdirAll(filepath.Join(apt, "lists", "partial"), 0o755),
		os.MkdirAll(filepath.Join(apt, "archives", "partial"), 0o755)); err != nil {
		return "", fmt.Errorf("lab: packages: %w: set XDG_CACHE_HOME to a folder you may write to", err)
	}
	unlock, err := lockFolder(apt)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(root); err == nil { // another session fetched it meanwhile
		return root, nil
	}
	fmt.Fprintf(progress, "lab: fetching packages, once: %s\n", strings.Join(s.names, " "))
	debs, err := s.download(ctx, apt)
	if err != nil {
		return "", err
	}
	temporary := root + ".new"
	if err := os.RemoveAll(temporary); err != nil {
		return "", fmt.Errorf("lab: packages: %w", err)
	}
	for _, deb := range debs {
		if err := unpack(ctx, deb, temporary, s.keep); err != nil {
			return "", fmt.Errorf("lab: unpack %s: %w", filepath.Base(deb), err)
		}
	}
	if err := os.Rename(temporary, root); err != nil {
		return "", fmt.Errorf("lab: packages: %w", err)
	}
	for _, deb := range debs {
		os.Remove(deb)
	}
	return root, nil
}

func (s packageSet) hash() string {
	sum := sha256.Sum256(fmt.Append(nil, layout, s.names, s.deps, s.keep))
	return fmt.Sprintf("%x", sum[:6])
}

// download has apt fetch and verify the set's packages and returns their paths.
func (s packageSet) download(ctx context.Context, apt string) ([]string, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("lab: %s: not found: packages are fetched with apt: run on Debian or a relative", tool)
		}
	}
	conf := filepath.Join(apt, "apt.conf")
	if err := errors.Join(os.WriteFile(conf, fmt.Appendf(nil, aptConf, apt), 0o644),
		os.WriteFile(filepath.Join(apt, "status"), nil, 0o644)); err != nil {
		return nil, fmt.Errorf("lab: packages: %w", err)
	}
	archives := filepath.Join(apt, "archives")
	run := func(tool string, args ...string) ([]byte, error) {
		cmd := exec.CommandContext(ctx, tool, append([]string{"-qq", "-c", conf}, args...)...)
		cmd.Dir = archives
		cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			why := strings.TrimSpace(stderr.String())
			if why == "" {
				why = err.Error()
			}
			return nil, fmt.Errorf("lab: %s %s: %s: check /etc/apt and the network", tool, args[0], why)
		}
		return stdout.Bytes(), nil
	}
	if _, err := run("apt-get", "update"); err != nil {
		return nil, err
	}
	names, err := resolve(s.names, func(name string) ([]byte, error) { return run("apt-cache", "depends", name) })
	if err != nil {
		return nil, err
	}
	verb := []string{"download"}
	if s.deps {
		verb = []string{"install", "--download-only", "--yes"}
	}
	old, _ := filepath.Glob(filepath.Join(archives, "*.deb"))
	for _, deb := range old { // left by a fetch that was interrupted, and maybe of another set
		os.Remove(deb)
	}
	if _, err := run("apt-get", append(verb, names...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(archives, "*.deb"))
}

// resolve replaces "NAME>PREFIX" by the real package that NAME, an empty one, depends on.
func resolve(names []string, depends func(name string) ([]byte, error)) ([]string, error) {
	var real []string
	for _, name := range names {
		empty, prefix, indirect := strings.Cut(name, ">")
		if !indirect {
			real = append(real, name)
			continue
		}
		out, err := depends(empty)
		if err != nil {
			return nil, err
		}
		found := false
		for line := range strings.Lines(string(out)) {
			dependency, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
			if ok && strings.HasPrefix(dependency, prefix) {
				real, found = append(real, dependency), true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("lab: package %s depends on no %s*: check /etc/apt: Debian 12 is meant", empty, prefix)
		}
	}
	return real, nil
}

// unpack writes what keep names of a package into folder.
func unpack(ctx context.Context, deb, folder string, keep []string) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	untarred := untar(tar.NewReader(pipe), folder, keep)
	_, drained := io.Copy(io.Discard, pipe) // what follows tar's end mark
	if err := cmd.Wait(); err != nil && untarred == nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return errors.Join(untarred, drained)
}

// untar writes files, folders and symbolic links; packages of the lab hold nothing else it needs.
func untar(t *tar.Reader, folder string, keep []string) error {
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Clean(strings.TrimPrefix(h.Name, "./"))
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%s: leads outside", h.Name)
		}
		if !wanted(name, keep) {
			continue
		}
		if err := extract(t, h, filepath.Join(folder, name), folder); err != nil {
			return err
		}
	}
}

// wanted: does a pattern fit the path, or a folder that it is in?
func wanted(name string, keep []string) bool {
	parts := strings.Split(name, "/")
	for _, pattern := range keep {
		depth := strings.Count(pattern, "/") + 1
		if depth > len(parts) {
			continue
		}
		if fits, err := path.Match(pattern, strings.Join(parts[:depth], "/")); fits && err == nil {
			return true
		}
	}
	return false
}

func extract(t *tar.Reader, h *tar.Header, to, folder string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return os.MkdirAll(to, 0o755)
	case tar.TypeSymlink:
		if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.Symlink(h.Linkname, to)
	case tar.TypeLink:
		return os.Link(filepath.Join(folder, filepath.Clean("/"+h.Linkname)), to)
	case tar.TypeReg:
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fs.FileMode(h.Mode&0o755)|0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, t)
		return errors.Join(err, f.Close())
	}
	return nil
}

// lockFolder keeps other sessions of this user out of a folder until the function returned is called.
func lockFolder(folder string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(folder, ".lock"), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lab: lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

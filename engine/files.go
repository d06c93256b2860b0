package engine

import (
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine/files"
	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// filesBudget is how many descriptors the servers of folders may have together: half of what the engine may have.
func filesBudget() int64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 256
	}
	return int64(min(limit.Cur, 1<<30) / 2)
}

// checkMounts holds that the folders are there, and that each has a place of its own.
func checkMounts(r *RunRequest) error {
	if len(r.Mounts) > abi.Mounts {
		return errf(CodeInvalid, "-v: %d folders, at most %d", len(r.Mounts), abi.Mounts)
	}
	if len(r.Mounts) > 0 && r.Recycle {
		return errf(CodeInvalid, "-v: a domain that is used again has no folders of the host: leave out --recycle")
	}
	for i, m := range r.Mounts {
		bad := func(why string) error { return errf(CodeInvalid, "-v %s:%s: %s", m.Host, m.Path, why) }
		fi, err := os.Stat(m.Host)
		switch {
		case !filepath.IsAbs(m.Host):
			return bad("the engine needs an absolute path")
		case err != nil:
			return bad(m.Host + ": no such folder, or not one of the engine's user: make it first")
		case !fi.IsDir():
			return bad(m.Host + ": not a folder: give the one that it is in")
		case !path.IsAbs(m.Path):
			return bad(m.Path + ": not an absolute path")
		case strings.ContainsAny(m.Path, "\x00\n") || len(m.Path) >= unix.PathMax/2:
			return bad("that is no path for a folder")
		}
		at := path.Clean(m.Path)
		if at == "/" {
			return bad("the root is the pVM's own: name a folder below it")
		}
		for _, own := range []string{"/proc", "/dev"} {
			if within(at, own) {
				return bad(own + " is the pVM's own")
			}
		}
		for _, other := range r.Mounts[:i] {
			if within(at, other.Path) || within(other.Path, at) {
				return bad(other.Path + " is there already: give each folder a place of its own")
			}
		}
		r.Mounts[i].Path = at
	}
	return nil
}

// within tells whether a clean path is another one, or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// mountPaths is where the folders are in the pVM.
func mountPaths(mounts []Mount) (paths []string) {
	for _, m := range mounts {
		paths = append(paths, m.Path)
	}
	return paths
}

// A server looks for the next request of a pVM for a while before it sleeps, if that has lately been worth it: to be rung and woken takes longer, and a
// file that is opened, read and closed is seven requests.
const (
	lookTime   = 50 * time.Microsecond
	looksApart = 256 // most sleeps between two looks, where they are in vain
)

// looks is what it was like to look.
type looks struct{ apart, left int }

// due tells whether to look this time.
func (l *looks) due() bool {
	if l.left > 0 {
		l.left--
		return false
	}
	return true
}

// were notes whether something came meanwhile.
func (l *looks) were(came bool) {
	if l.apart = min(2*l.apart+1, looksApart); came {
		l.apart = 0
	}
	l.left = l.apart
}

// mayLook is due where others have a processor meanwhile; true: e.looking.Add(-1) must follow.
func (e *Engine) mayLook(p *pvm, l *looks) bool {
	if !l.due() {
		return false
	}
	e.mu.Lock()
	may := e.spins(&p.rec)
	e.mu.Unlock()
	if may && int(e.looking.Add(1)) > max(runtime.GOMAXPROCS(0)-1, 1) {
		e.looking.Add(-1)
		may = false
	}
	return may
}

// serveFiles serves the folders of a pVM until it has gone, or the engine leaves: what it asks then the next engine answers.
func (e *Engine) serveFiles(p *pvm, mounts []Mount) {
	defer e.tending.Done()
	var folders []files.Folder
	for _, m := range mounts {
		folders = append(folders, files.Folder{Path: m.Host, ReadOnly: m.ReadOnly})
	}
	s := files.NewServer(folders, abi.FilesSize, &e.files)
	defer s.Close()
	var area *ipc.Files
	var request, reply []byte // from the first request on
	var looks looks
	if p.shared(func() error { area = ipc.NewFiles(p.dom.Control()); return nil }) != nil {
		return
	}
	for {
		var msg []byte
		err := p.shared(func() (err error) {
			if area.Asked() && request == nil {
				request, reply = make([]byte, abi.FilesSize), make([]byte, 0, abi.FilesSize)
			}
			msg, err = area.Next(request)
			return err
		})
		if err != nil {
			e.corrupt(p, err)
			return
		}
		if msg != nil {
			answer, look := s.Answer(msg, reply), e.mayLook(p, &looks)
			err := p.shared(func() error {
				if area.Answer(answer, look) {
					return p.dom.Notify()
				}
				return nil
			})
			if look {
				if err == nil {
					err = p.shared(func() error { looks.were(area.Look(lookTime)); return nil })
				}
				e.looking.Add(-1)
			}
			if err != nil {
				return
			}
		}
		select {
		case <-e.quit:
			return
		case <-p.dom.Gone():
			return
		default:
		}
		if msg != nil {
			continue
		}
		select {
		case <-p.files:
		case <-p.dom.Gone():
			return
		case <-e.quit:
			return
		}
	}
}

// startFiles lets the folders of a pVM be served, if it has any.
func (e *Engine) startFiles(p *pvm) {
	e.mu.Lock()
	mounts := slices.Clone(p.rec.Request.Mounts)
	e.mu.Unlock()
	if len(mounts) > 0 {
		e.tending.Add(1)
		go e.serveFiles(p, mounts)
	}
}

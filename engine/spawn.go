package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kxsh/elf"
	"kxsh/xen"
)

const (
	minMemory = 1 << 20
	nameMax   = 63        // bytes of a name, with its NUL a field of kx_control
	rootMax   = 256 << 20 // bytes of a root archive
)

// Run starts an image as the root of a new family.
func (e *Engine) Run(ctx context.Context, r RunRequest) (*RunReply, error) {
	p, err := e.spawn(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return &RunReply{PID: p.pid, Steps: p.rec.Steps}, nil
}

// birth is a pVM that is being made.
type birth struct {
	e      *Engine
	r      RunRequest
	rule   restriction
	p      *pvm
	file   *elf.Record // of the image, or of the application of a recycled one; nil: it has none
	memory uint64      // bytes of RAM window
	root   []byte
	run    func() error // lets the program begin
	ends   []func()     // what is due in the end in any case
	steps
}

// spawn gives birth to a pVM. before is the record of the pVM it takes over from, if it is a
// restart. Whatever step fails, nothing is left.
func (e *Engine) spawn(ctx context.Context, r RunRequest, before *record) (*pvm, error) {
	b := &birth{e: e, r: r, p: newPVM()}
	defer b.close()
	requested := time.Now()
	fail := func(err error) (*pvm, error) {
		b.unwind()
		var own *Error
		if !errors.As(err, &own) {
			err = spawnError(&b.r, err)
		}
		return nil, err
	}
	if err := b.do("check", func() (err error) {
		if err = e.checkRun(&b.r); err == nil {
			b.rule, err = b.r.restriction()
		}
		return err
	}, nil); err != nil {
		return fail(err)
	}
	body, last := b.fresh, "unpause"
	if r.Recycle {
		body, last = b.recycled, "load"
	}
	if err := body(ctx); err != nil {
		return fail(err)
	}
	p := b.p
	r = b.r
	p.pid = int(p.dom.ID())
	p.size.Store(uint64(r.Rows)<<32 | uint64(uint32(r.Cols)))
	p.rec.Process = Process{
		PID: p.pid, Family: p.pid, Name: r.Name, Image: r.Image, Args: r.Args, VCPUs: 1,
		Started: requested, UID: os.Getuid(), TTY: r.TTY,
	}
	p.rec.Request, p.rec.Requested, p.rec.Token = r, requested, p.dom.Token()
	p.rec.Log = filepath.Join("logs", fmt.Sprintf("%d-%d", p.pid, requested.UnixMilli()))
	if b.rule.Signed {
		p.rec.Seal = sealOf(b.file)
	}
	if before != nil {
		p.rec.Restarts, p.rec.RestartOf = before.Restarts+1, before.PID
	}
	p.log = newConsoleLog(filepath.Join(e.o.State, p.rec.Log))
	if r.Hold {
		p.expectReader()
	}
	if err := b.do("table", func() error { return e.enter(p, nil) }, func() { e.forget(p) }); err != nil {
		return fail(err)
	}
	if r.networked() {
		if err := b.do("network", func() error { return e.connect(p) }, func() { e.unplug(p, &r, p.pid) }); err != nil {
			return fail(err)
		}
	}
	if err := b.do(last, b.run, nil); err != nil {
		return fail(err)
	}
	if b.rule.NoRollback { // it has run, whatever fails from here on
		if err := b.do("floor", func() error { return e.floors.raise(b.file) }, nil); err != nil {
			return fail(err)
		}
	}
	// The record is written while the pVM boots. An engine that dies before leaves a domain that
	// nobody has been told of; the next one ends it.
	if err := e.writeBirth(p, &b.steps); err != nil {
		return fail(err)
	}
	e.births.run.observe(time.Since(requested))
	e.events.add(Event{Type: "started", PID: p.pid, Name: r.Name, Text: strings.Join(r.Args, " "), Steps: b.done})
	e.log.Debug("started", "pid", p.pid, "image", r.Image, "took", time.Since(requested))
	e.tending.Add(1)
	go e.tend(p)
	return p, nil
}

// fresh makes a domain of an image, paused at its entry point.
func (b *birth) fresh(ctx context.Context) error {
	e, r, p := b.e, &b.r, b.p
	var im *image
	if err := b.do("image", func() (err error) { im, err = e.imageAt(r.Image); return err }, nil); err != nil {
		return err
	}
	b.later(func() { e.images.put(im) })
	b.file, b.root = im.record, im.root
	if b.rule.Signed {
		if err := b.do("restrictions", func() error { return e.permit(r, &b.rule, im.record) }, nil); err != nil {
			return err
		}
	}
	if err := b.readRoot(); err != nil {
		return err
	}
	b.memory = ramSize(r, im.elf.Memory, b.root)
	var libs libraries
	if im.elf.Dynamic != nil {
		if err := b.do("libraries", func() (err error) { libs, err = e.link(im, r, &b.rule, b.memory); return err }, nil); err != nil {
			return err
		}
		b.later(func() { e.putLibraries(libs.files) })
	}
	p.syms = im.syms
	p.linked.Store(libs.linked)
	p.rec.ImageSHA, p.rec.Libraries, p.rec.Dynamic = im.sha, libs.uses, xen.Range{VA: libs.dynamic.VA, Pages: libs.dynamic.Pages}
	p.rec.Loader = im.record.LoadedBy()
	err := b.do("domain", func() (err error) {
		p.dom, err = e.hv.Create(ctx, &xen.Config{
			Image: im.xen, Libraries: libs.shared, Dynamic: libs.dynamic, Boot: b.boot(), Memory: b.memory,
			Step: func(name string, took time.Duration) { b.took("domain: "+name, took) },
		})
		return err
	}, func() { end(p) })
	if err == nil {
		p.attachControl()
		b.run = p.dom.Unpause
	}
	return err
}

// later has something done when the pVM is born, or is not.
func (b *birth) later(f func()) { b.ends = append(b.ends, f) }

func (b *birth) close() {
	for _, f := range b.ends {
		f()
	}
}

// boot is what the program finds when it starts.
func (b *birth) boot() xen.Boot {
	r := &b.r
	return xen.Boot{
		Name: r.Name, Args: r.Args, Env: r.Env, TTY: r.TTY, Stdin: r.Stdin, Look: b.e.cpus > 1,
		Rows: r.Rows, Cols: r.Cols, Root: b.root, Mounts: mountPaths(r.Mounts),
	}
}

// readRoot is the step that reads the root file system, if the request names one.
func (b *birth) readRoot() error {
	if b.r.Root == "" {
		return nil
	}
	return b.do("root", func() (err error) { b.root, err = readRoot(b.r.Root); return err }, nil)
}

// writeBirth is the step that puts the record of a new pVM into the store.
func (e *Engine) writeBirth(p *pvm, s *steps) error {
	setSteps := func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		p.rec.Steps = slices.Clone(s.done)
	}
	setSteps()
	err := s.do("record", func() error {
		err := e.save(nil, p)
		if err != nil {
			p.log.remove()
		}
		return err
	}, nil)
	setSteps()
	return err
}

// spawnError says in one line why r could not be started.
func spawnError(r *RunRequest, err error) *Error {
	code := CodeInternal
	mend := ""
	if errors.Is(err, xen.ErrNoMemory) {
		code, mend = CodeLimit, ": ask for less with -m, or end other pVMs"
	}
	if noRoom(err) {
		code, mend = CodeLimit, ": make room in the state folder (see info)"
	}
	return errf(code, "%s: %v%s", r.Image, err, mend)
}

func (e *Engine) checkRun(r *RunRequest) error {
	if !filepath.IsAbs(r.Image) {
		return errf(CodeInvalid, "%s: image: the engine needs an absolute path", r.Image)
	}
	if r.Name == "" {
		r.Name = defaultName(r.Image)
	}
	if !validName(r.Name) {
		return errf(CodeUsage, "--name %q: 1 to 63 letters, digits, _ . + or -, not only digits", r.Name)
	}
	if len(r.Args) == 0 {
		r.Args = []string{r.Name}
	}
	for _, dir := range r.LibPath {
		if !filepath.IsAbs(dir) {
			return errf(CodeInvalid, "--lib-path %s: the engine needs an absolute path", dir)
		}
	}
	if err := checkMounts(r); err != nil {
		return err
	}
	for _, s := range append(append([]string{}, r.Args...), r.Env...) {
		if strings.IndexByte(s, 0) >= 0 {
			return errf(CodeInvalid, "%q: arguments and environment cannot hold a NUL", s)
		}
	}
	if r.Memory != 0 && r.Memory < minMemory {
		return errf(CodeUsage, "-m %d: a pVM needs at least %d bytes", r.Memory, minMemory)
	}
	switch r.Restart.Policy {
	case "", "no", "on-failure", "always", "unless-stopped":
	default:
		return errf(CodeUsage, "--restart %s: no, on-failure[:N], always or unless-stopped", r.Restart.Policy)
	}
	if err := r.checkNet(); err != nil {
		return err
	}
	if err := e.checkBridge(r); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return errf(CodeEngine, "the engine is leaving: try again")
	}
	return nil
}

// validName tells whether a name can be told from a PID, a glob and a family in a command line.
func validName(s string) bool {
	return len(s) >= 1 && len(s) <= nameMax && strings.IndexFunc(s, notInName) < 0 && strings.Trim(s, "0123456789") != "" && s[0] != '-'
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.+-", r))
}

// defaultName makes a valid name of an image's file name.
func defaultName(image string) string {
	s := strings.Map(func(r rune) rune {
		if notInName(r) {
			return '_'
		}
		return r
	}, strings.TrimSuffix(strings.TrimSuffix(filepath.Base(image), ".kx"), ".so"))
	if s = s[:min(len(s), nameMax)]; !validName(s) {
		s = "pvm" + s[:min(len(s), nameMax-3)]
	}
	return s
}

// ramSize is the RAM window of a new pVM in bytes, whose image wants so many, or none in particular. A root archive lives in it, beside what the
// program was promised.
func ramSize(r *RunRequest, wanted uint64, root []byte) uint64 {
	n := r.Memory
	if n == 0 {
		n = wanted
	}
	if n == 0 {
		n = DefaultMemory
	}
	return n + uint64(len(root))
}

func readRoot(path string) ([]byte, error) {
	f, _, err := OpenRegular(path, 0)
	if err != nil {
		return nil, errf(CodeInvalid, "--root %s: %v", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, rootMax+1))
	if err != nil {
		return nil, errf(CodeInvalid, "--root %s: %v", path, err)
	}
	if len(data) > rootMax {
		return nil, errf(CodeLimit, "--root %s: larger than %d bytes", path, rootMax)
	}
	if len(data) < 512 || !bytes.HasPrefix(data[257:], []byte("ustar")) {
		return nil, errf(CodeInvalid, "--root %s: not a tar archive", path)
	}
	return data, nil
}

// enter puts a new pVM into the table; parent is nil for the root of a new family. The numbers of domains
// come round, and one may be a zombie's still, or that of a family whose root has gone.
func (e *Engine) enter(p, parent *pvm) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if parent != nil && parent.doomed {
		return errDoomed
	}
	if parent == nil && e.families[p.pid] != nil {
		return fmt.Errorf("the hypervisor gave out PID %d, and members of family %d live on: try again", p.pid, p.pid)
	}
	if old := e.table[p.pid]; old != nil {
		if old.rec.Exit == nil || old.rec.zombie() {
			return fmt.Errorf("the hypervisor gave out PID %d twice: try again", p.pid)
		}
		e.dropEnded(old)
	}
	e.table[p.pid] = p
	e.running++
	if parent == nil {
		e.join(p)
	}
	return nil
}

// forget takes a pVM that never ran out of the table.
func (e *Engine) forget(p *pvm) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.table, p.pid)
	e.running--
	if p.rec.PPID == 0 {
		e.leave(p.rec.Family)
	}
}

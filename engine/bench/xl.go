package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// xl is Xen's own toolstack, to compare with.
type xl struct {
	config string
	regs   func(xen.DomID) (abi.KxRegs, error)
}

// registers is what a hypervisor that xl can be compared with has: the registers of any domain's vcpu.
type registers interface {
	Registers(xen.DomID) (abi.KxRegs, error)
}

// xlName is what xl calls the domain that it makes.
const xlName = "kxsh-bench"

// newXL is nil, and says why, where there is no working xl.
func (b *Bench) newXL(ctx context.Context, hv xen.Hypervisor, image string, memory uint64) (*xl, error) {
	regs, ok := hv.(registers)
	if !ok {
		return nil, nil
	}
	if text, err := waited(ctx, "xl", "list").CombinedOutput(); err != nil {
		b.without("xl: %v %s", err, strings.TrimSpace(string(text)))
		return nil, nil
	}
	x := &xl{config: filepath.Join(b.dir, "xl.cfg"), regs: regs.Registers}
	// The domain stays when it has ended, so that its registers can be read; its counter is the CPU's.
	text := fmt.Sprintf("type=\"pv\"\nkernel=%q\nmemory=%d\nvcpus=1\ntsc_mode=\"native\"\n"+
		"on_crash=\"preserve\"\non_poweroff=\"preserve\"\n", image, memory>>20)
	return x, os.WriteFile(x.config, []byte(text), 0o600)
}

// once has xl create the domain, and destroy it.
func (x *xl) once(ctx context.Context) (created time.Duration, err error) {
	created, err = x.create(ctx, xlName)
	if err != nil {
		return 0, err
	}
	return created, x.destroy(xlName)
}

// create has xl create a domain; a failure leaves none. It ends at the image's entry point, which finds that kxsh did not
// build it, leaves the counter in rbx and shuts down: what the LibOS does before main is not in it.
func (x *xl) create(ctx context.Context, name string) (created time.Duration, err error) {
	cmd := waited(ctx, "xl", "create", "-q", x.config, fmt.Sprintf("name=%q", name))
	before := rdtsc()
	text, failed := cmd.CombinedOutput()
	defer func() {
		if err != nil {
			x.destroy(name) // if it is there
		}
	}()
	out, err := waited(ctx, "xl", "domid", name).Output()
	if err != nil {
		return 0, errors.Join(fmt.Errorf("xl create: %v: %s", failed, text), err)
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(out)), 10, 15)
	if err != nil {
		return 0, err
	}
	r, err := x.regs(xen.DomID(id))
	if err != nil {
		return 0, err
	}
	if r.Rbx < before || r.Rbx > rdtsc() {
		return 0, fmt.Errorf("xl create: the domain did not come to its first instruction: rbx is %d", r.Rbx)
	}
	return time.Duration(r.Rbx - before), nil
}

// destroy is done also when the benchmark has ended, and waits for xl for loadTime at most.
func (x *xl) destroy(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	if out, err := waited(ctx, "xl", "destroy", name).CombinedOutput(); err != nil {
		return fmt.Errorf("xl destroy: %v: %s", err, out)
	}
	return nil
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"kxsh/engine/netswitch"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// The network of pVMs. A pVM with --net user has a port of the switch (package netswitch), a process beside the engine that outlives it. Each has an address of
// its own, also a child: its connections are its parent's.

// gateway is the switch's own address. A pVM's is its PID in the same network, so that it is free whenever the PID is.
var gateway = netip.MustParsePrefix("10.88.255.254/16")

// What a RunRequest's Net may be.
const (
	netNone = "none"
	netUser = "user"
)

// checkNet looks at what a request says of the network.
func (r *RunRequest) checkNet() error {
	switch {
	case r.Net == "" && len(r.Publish) > 0:
		r.Net = netUser
	case r.Net == "", r.Net == netUser, validInterface(r.bridge()):
	case r.Net != netNone:
		return errf(CodeUsage, "--net %s: none, user or bridge=NAME", r.Net)
	case len(r.Publish) > 0:
		return errf(CodeUsage, "--publish %s: with --net user alone: a pVM without a network has no ports of the host", r.Publish[0])
	default:
		r.Net = ""
	}
	for i, s := range r.Publish {
		p, err := parsePublish(s)
		if err != nil {
			return err
		}
		for _, other := range r.Publish[:i] {
			if q, _ := parsePublish(other); q.address == p.address {
				return errf(CodeUsage, "--publish %s: %s is given twice", s, p.address)
			}
		}
	}
	if r.networked() && r.Recycle {
		return errf(CodeUsage, "--net %s: not with --recycle: a placeholder has booted without a network", r.Net)
	}
	return nil
}

// published is a port of the host that a pVM has.
type published struct {
	address string // of the host, with its port, and with /udp if it is one of UDP
	port    uint16 // of the pVM
}

// parsePublish reads [ADDR:]HOST:PORT[/tcp|/udp].
func parsePublish(text string) (p published, err error) {
	bad := errf(CodeUsage, "--publish %s: must be [ADDR:]HOST:PORT[/tcp|/udp], as 8080:80, 127.0.0.1:8080:80 or 53:53/udp", text)
	s, protocol := strings.TrimSuffix(text, "/tcp"), ""
	if rest, ok := strings.CutSuffix(text, "/udp"); ok {
		s, protocol = rest, "/udp"
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return p, bad
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || port == 0 {
		return p, bad
	}
	address := s[:i]
	if !strings.Contains(address, ":") {
		address = ":" + address
	}
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return p, bad
	}
	if n, err := strconv.ParseUint(number, 10, 16); err != nil || n == 0 {
		return p, bad
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return p, bad
	}
	return published{net.JoinHostPort(host, number) + protocol, uint16(port)}, nil
}

// nicOf is the device that a pVM of a number gets.
func nicOf(id xen.DomID) *xen.NIC {
	a := gateway.Masked().Addr().As4()
	a[2], a[3] = byte(id>>8), byte(id)
	return &xen.NIC{
		MAC: [6]byte{0x02, 'k', 'x', 0, byte(id >> 8), byte(id)}, Prefix: netip.PrefixFrom(netip.AddrFrom4(a), gateway.Bits()),
		Gateway: gateway.Addr(), DNS: gateway.Addr(),
	}
}

// connect gives a pVM whose domain has not run yet the network device that its request asks for, and the ports of the host. A failure leaves nothing but
// what goes with the domain.
func (e *Engine) connect(p *pvm) error {
	r := &p.rec.Request
	if bridge := r.bridge(); bridge != "" {
		return e.atBridge(p, r, bridge)
	}
	n := nicOf(p.dom.ID())
	if err := p.dom.Plug(n); err != nil {
		return err
	}
	e.mu.Lock()
	p.rec.IP = n.Prefix.Addr().String()
	e.mu.Unlock()
	err := e.withSwitch(func(s *netswitch.Client) error { return e.addPort(s, p) })
	if err != nil {
		return err
	}
	p.online.Store(true)
	if err = e.publish(r, p.rec.Family); err != nil {
		e.unplug(p, r, p.rec.Family)
	}
	return err
}

func (r *RunRequest) networked() bool { return r.Net != "" }

// switched tells whether it is to have a port of the switch.
func (r *RunRequest) switched() bool { return r.Net == netUser }

// addPort connects a pVM to the switch.
func (e *Engine) addPort(s *netswitch.Client, p *pvm) error {
	w, err := p.dom.Wire()
	if err != nil {
		return err
	}
	defer w.Close()
	e.noteInterface(p, w)
	n := nicOf(p.dom.ID())
	port := netswitch.Port{ID: p.pid, Name: p.rec.Request.Name, MAC: n.MAC, IP: n.Prefix.Addr(), Interface: w.Interface}
	if m := w.Memory; m != nil {
		port.Memory, port.Offset, port.Pages, port.Bell, port.Events = m.Control, m.Rings, abi.NetPages, m.Bell, switchEvents(m)
	}
	return s.Add(port)
}

func (e *Engine) noteInterface(p *pvm, w *xen.Wire) {
	e.mu.Lock()
	p.rec.Vif = w.Interface
	e.mu.Unlock()
}

func switchEvents(m *xen.WireMemory) netswitch.Events {
	return netswitch.Events{
		Shared: m.Control, SharedOffset: m.Shared, State: m.State, SeqOffset: m.Seq, SleepingOffset: m.Sleeping, Process: m.Process, Channel: m.Port,
	}
}

// rewire tells the switch where a domain is that a fork may have moved. One that has ended needs nothing.
func (e *Engine) rewire(p *pvm, r *RunRequest) {
	if !r.switched() {
		return
	}
	if err := e.withSwitch(func(s *netswitch.Client) error { return rewireOn(s, p) }); err != nil {
		e.log.Error("network", "pid", p.pid, "err", err)
	}
}

func rewireOn(s *netswitch.Client, p *pvm) error {
	w, err := p.dom.Wire()
	if err != nil {
		return nil
	}
	defer w.Close()
	if w.Memory == nil {
		return nil
	}
	return s.SetEvents(p.pid, switchEvents(w.Memory))
}

// unplug takes a pVM that has ended from the switch, and from the ports that its family has.
func (e *Engine) unplug(p *pvm, r *RunRequest, family int) {
	if !p.online.Swap(false) {
		return
	}
	err := e.withSwitch(func(s *netswitch.Client) error { return s.Remove(p.pid) })
	if err == nil {
		err = e.publish(r, family)
	}
	if err != nil {
		e.log.Error("network", "pid", p.pid, "err", err)
	}
}

// publish has a family's ports of the host lead to those of its members that are there now.
func (e *Engine) publish(r *RunRequest, family int) error {
	if len(r.Publish) == 0 {
		return nil
	}
	return e.withSwitch(func(s *netswitch.Client) error { return e.publishOn(s, r, family) })
}

func (e *Engine) publishOn(s *netswitch.Client, r *RunRequest, family int) error {
	e.mu.Lock()
	var members []int
	var owner *pvm // of another family
	wanted := map[string]bool{}
	for _, text := range r.Publish {
		p, _ := parsePublish(text)
		wanted[p.address] = true
	}
	for _, q := range e.table {
		switch {
		case !q.online.Load():
		case q.rec.Family == family:
			members = append(members, q.pid)
		case slices.ContainsFunc(q.rec.Request.Publish, func(text string) bool { p, _ := parsePublish(text); return wanted[p.address] }):
			owner = q
		}
	}
	e.mu.Unlock()
	if owner != nil {
		return errf(CodeBusy, "--publish %s: family %d has it: end that, or publish another port", strings.Join(r.Publish, " "), owner.rec.Family)
	}
	slices.Sort(members)
	for _, text := range r.Publish {
		p, err := parsePublish(text)
		switch {
		case err != nil:
		case len(members) == 0:
			err = s.Unpublish(p.address)
		default:
			targets := make([]netswitch.Target, len(members))
			for i, pid := range members {
				targets[i] = netswitch.Target{Port: pid, Number: p.port}
			}
			err = s.Publish(netswitch.Publication{Address: p.address, Targets: targets})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ---- the switch ----

// netSwitch is the engine's way to the switch.
type netSwitch struct {
	mu     sync.Mutex                       // who starts one, or changes what it has
	client atomic.Pointer[netswitch.Client] // nil: none is known
}

// withSwitch calls f with the switch, which it starts if there is none, and again if that has gone in between.
func (e *Engine) withSwitch(f func(*netswitch.Client) error) error {
	e.net.mu.Lock()
	defer e.net.mu.Unlock()
	for tries := 1; ; tries++ {
		s, err := e.switchNow()
		if err == nil {
			err = f(s)
		}
		if !errors.Is(err, netswitch.ErrGone) || tries == 3 {
			return err
		}
	}
}

// switchNow is the switch, with all ports that it should have. e.net.mu is held.
func (e *Engine) switchNow() (*netswitch.Client, error) {
	if s := e.net.client.Load(); s != nil {
		select {
		case <-s.Done():
			e.net.client.Store(nil)
		default:
			return s, nil
		}
	}
	s, err := netswitch.Dial(context.Background(), netswitch.Options{Dir: e.o.State, Self: e.o.Self, Gateway: gateway})
	if err != nil {
		return nil, err
	}
	if err := e.restorePorts(s); err != nil {
		s.Close()
		return nil, err
	}
	e.net.client.Store(s)
	go e.watchSwitch(s)
	return s, nil
}

// watchSwitch starts another one when the switch has gone, for those that are on the network. Their connections through it are lost.
func (e *Engine) watchSwitch(s *netswitch.Client) {
	<-s.Done()
	if e.isClosing() || !e.anyOnline() {
		return
	}
	e.log.Error("network", "err", netswitch.ErrGone)
	if err := e.withSwitch(func(*netswitch.Client) error { return nil }); err != nil {
		e.log.Error("network", "err", err)
	}
}

// restorePorts makes a switch have the ports of those that live, and no others.
func (e *Engine) restorePorts(s *netswitch.Client) error {
	st, err := s.State()
	if err != nil {
		return err
	}
	there := map[int]bool{}
	for _, p := range st.Ports {
		there[p.ID] = true
	}
	wanted := map[int]*pvm{}
	for _, p := range e.live() {
		if p.online.Load() {
			wanted[p.pid] = p
		}
	}
	for id := range there {
		if wanted[id] == nil {
			if err := s.Remove(id); err != nil {
				return err
			}
		}
	}
	kept := map[string]bool{}
	for id, p := range wanted {
		var err error
		if !there[id] {
			err = e.addPort(s, p)
		}
		// An engine that died may not have told that a fork has moved the pVM, and a switch that died may have been about to ring it.
		if err == nil {
			err = rewireOn(s, p)
		}
		if err != nil && !errors.Is(err, xen.ErrNoDomain) {
			return fmt.Errorf("(%d): %w", id, err)
		}
		for _, text := range p.rec.Request.Publish {
			port, _ := parsePublish(text)
			kept[port.address] = true
		}
	}
	for _, p := range st.Published {
		if !kept[p.Address] {
			if err := s.Unpublish(p.Address); err != nil {
				return err
			}
		}
	}
	for _, p := range wanted {
		if err := e.publishOn(s, &p.rec.Request, p.rec.Family); err != nil {
			return err
		}
	}
	return nil
}

// adoptSwitch finds the switch of an earlier engine, which may have ports of pVMs that have ended meanwhile.
func (e *Engine) adoptSwitch() {
	if !e.anyOnline() && !netswitch.Exists(e.o.State) {
		return
	}
	if err := e.withSwitch(func(*netswitch.Client) error { return nil }); err != nil {
		e.log.Error("network", "err", err)
	}
}

func (e *Engine) anyOnline() bool {
	return slices.ContainsFunc(e.live(), func(p *pvm) bool { return p.online.Load() })
}

// leaveSwitch closes the way to the switch, which leaves, too, if no pVM is left to the next engine.
func (e *Engine) leaveSwitch() {
	n := &e.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if s := n.client.Load(); s != nil {
		if !e.anyOnline() {
			s.Spare()
		}
		s.Close()
	}
}

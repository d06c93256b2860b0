package netswitch

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	portDNS     = 53
	maxQuestion = 512  // bytes of one over UDP
	maxReply    = 4096 // with EDNS
	maxSame     = 16   // addresses of a name
	askTimeout  = 2 * time.Second
	nameTTL     = 5 // seconds: a name may be another pVM's soon
)

// nameServer is DNS at the gateway: names and numbers of pVMs are answered from the switch's ports, others by the
// host's resolver.
type nameServer struct {
	sw   *Switch
	conn *gonet.UDPConn
	done chan struct{}
}

func newNameServer(s *Switch) (*nameServer, error) {
	conn, err := gonet.DialUDP(s.stack, &tcpip.FullAddress{NIC: nic, Addr: address(s.ip), Port: portDNS}, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	n := &nameServer{sw: s, conn: conn, done: make(chan struct{})}
	go n.run()
	return n, nil
}

func (n *nameServer) close() {
	n.conn.Close()
	<-n.done
}

func (n *nameServer) run() {
	defer close(n.done)
	buf := make([]byte, maxQuestion+1)
	for {
		size, from, err := n.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		a, ok := from.(*net.UDPAddr)
		if !ok || size > maxQuestion {
			continue
		}
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		p := n.sw.portByIP(ip)
		if p == nil {
			continue
		}
		question := append([]byte(nil), buf[:size]...)
		reply, forward := answerName(question, n.sw.addressesOf)
		if reply != nil {
			n.conn.WriteTo(reply, from)
		}
		if !forward {
			continue
		}
		if p.asks.Add(1) > maxAsks {
			p.asks.Add(-1)
			continue
		}
		go func() {
			defer p.asks.Add(-1)
			if reply := n.ask(question); reply != nil {
				n.conn.WriteTo(reply, from)
			}
		}()
	}
}

// addressesOf are those of the pVMs with a name or number, the oldest first; nil: there is none.
func (s *Switch) addressesOf(name string) []netip.Addr {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []netip.Addr
	for _, p := range s.byName[name] {
		if len(list) == maxSame {
			break
		}
		list = append(list, p.IP)
	}
	return list
}

// answerName answers a question for a pVM's name. forward: it is for somebody else. What is no question gets
// neither.
func answerName(question []byte, lookup func(name string) []netip.Addr) (reply []byte, forward bool) {
	var p dnsmessage.Parser
	head, err := p.Start(question)
	if err != nil || head.Response || head.OpCode != 0 {
		return nil, false
	}
	q, err := p.Question()
	if err != nil {
		return nil, false
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return nil, false // nobody asks two
	}
	name, isLabel := strings.CutSuffix(strings.ToLower(q.Name.String()), ".")
	if !isLabel || strings.Contains(name, ".") || q.Class != dnsmessage.ClassINET {
		return nil, true
	}
	ips := lookup(name)
	if ips == nil {
		return nil, true
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: head.ID, Response: true, Authoritative: true, RecursionDesired: head.RecursionDesired, RecursionAvailable: true,
	})
	b.EnableCompression()
	err = errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers())
	for _, ip := range ips {
		if q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL {
			err = errors.Join(err, b.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: nameTTL}, dnsmessage.AResource{A: ip.As4()}))
		}
	}
	reply, finish := b.Finish()
	if errors.Join(err, finish) != nil {
		return nil, false
	}
	return reply, false
}

// ask passes a question to the host's resolvers, one after the other, and returns the answer, or one that says
// that there is none.
func (n *nameServer) ask(question []byte) []byte {
	servers := n.sw.config.Resolvers
	if len(servers) == 0 {
		servers = hostResolvers("/etc/resolv.conf")
	}
	for _, server := range servers {
		if reply, err := askOne(server, question); err == nil {
			return reply
		}
	}
	var p dnsmessage.Parser
	head, _ := p.Start(question)
	q, err := p.Question()
	if err != nil {
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: head.ID, Response: true, RecursionDesired: head.RecursionDesired, RCode: dnsmessage.RCodeServerFailure},
		Questions: []dnsmessage.Question{q},
	}
	reply, _ := m.Pack()
	return reply
}

// askOne asks with a number of its own: that of the pVM may be known to whoever forges answers.
func askOne(server netip.AddrPort, question []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	id := uint16(rand.Uint32())
	asked := append([]byte(nil), question...)
	binary.BigEndian.PutUint16(asked, id)
	if _, err := c.Write(asked); err != nil {
		return nil, err
	}
	buf := make([]byte, maxReply)
	for {
		size, err := c.Read(buf)
		if err != nil {
			return nil, err
		}
		if size >= 12 && binary.BigEndian.Uint16(buf) == id && buf[2]&0x80 != 0 {
			copy(buf, question[:2])
			return buf[:size], nil
		}
	}
}

// hostResolvers are the name servers of a resolv.conf(5), at most three; none: that of the host itself.
func hostResolvers(path string) (list []netip.AddrPort) {
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan() && len(list) < 3; {
			words := strings.Fields(lines.Text())
			if len(words) < 2 || words[0] != "nameserver" {
				continue
			}
			if ip, err := netip.ParseAddr(words[1]); err == nil {
				list = append(list, netip.AddrPortFrom(ip, portDNS))
			}
		}
	}
	if len(list) == 0 {
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), portDNS)}
	}
	return list
}

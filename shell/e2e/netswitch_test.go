package e2e

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/engine/netswitch"
)

// The network's switch is a process that kxsh itself becomes for an engine; it leaves when nobody needs it, and is
// nothing to start by hand.
func TestNetworkSwitch(t *testing.T) {
	h := newHome(t)
	dir := filepath.Join(h.dir, "network")
	c, err := netswitch.Dial(context.Background(), netswitch.Options{
		Dir: dir, Self: []string{h.bin}, Gateway: netip.MustParsePrefix("10.88.0.1/16"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:0"
	if err := c.Publish(netswitch.Publication{Address: address}); err == nil || !strings.HasPrefix(err.Error(), "publish "+address+": ") {
		t.Errorf("no port is published: %v", err)
	}
	c.Close()
	if !gone(st.PID, patience) {
		t.Error("a switch that nobody needs stays")
	}
	if left, _ := filepath.Glob(dir + "/*.sock"); left != nil {
		t.Error("left behind:", left)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "switch.log")); err != nil || len(log) != 0 {
		t.Errorf("its log: %s%v", log, err)
	}
	out, errs, code := h.run(t, netswitch.Command)
	if out != "" || errs != "network-switch: is started by an engine, and not by hand\n" || code != 1 {
		t.Errorf("by hand: %q %q %d", out, errs, code)
	}
}

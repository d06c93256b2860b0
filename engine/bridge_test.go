package engine

import "testing"

func TestParseStatic(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.2.3/24": "10.1.2.3/24 ", "192.168.1.7/30,192.168.1.6": "", "10.0.0.5/8,10.255.255.254": "10.0.0.5/8 10.255.255.254",
		"": "", "10.1.2.3": "", "10.1.2.0/24": "", "10.1.2.255/24": "", "10.1.2.3/31": "", "10.1.2.3/0": "", "::1/64": "", "127.0.0.1/8": "", "224.0.0.1/24": "",
		"10.1.2.3/24,": "", "10.1.2.3/24,10.1.3.1": "", "10.1.2.3/24,10.1.2.3": "", "10.1.2.3/24,10.1.2.255": "", "10.1.2.3/24,x": "",
	} {
		a, gateway, err := parseStatic(text)
		got := ""
		if err == nil {
			if got = a.String() + " "; gateway.IsValid() {
				got += gateway.String()
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q (%v)", text, got, want, err)
		}
	}
}

func TestValidInterface(t *testing.T) {
	for name, want := range map[string]bool{
		"br0": true, "xenbr0.7": true, "br-lan": true, "": false, ".": false, "..": false, "a/b": false, "a b": false, "0123456789abcde": true, "0123456789abcdef": false,
	} {
		if validInterface(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// What an interface of dom0's receives its pVM has sent.
func TestParseTraffic(t *testing.T) {
	for line, want := range map[string]Traffic{
		"  vif7.0:    1000       2    0    0    0     0          0         0      3000       4    0    5    0     0       0          0": {SentBytes: 1000, SentPackets: 2, ReceivedBytes: 3000, ReceivedPackets: 4, Dropped: 5},
		"vif7.0:1000 2 0 0 0 0 0 0 3000 4 0 5 0 0 0 0": {SentBytes: 1000, SentPackets: 2, ReceivedBytes: 3000, ReceivedPackets: 4, Dropped: 5},
	} {
		if pid, got := parseTraffic(line); pid != 7 || got == nil || *got != want {
			t.Errorf("%q: %d %+v", line, pid, got)
		}
	}
	for _, line := range []string{"", "Inter-|   Receive  |  Transmit", "    lo: 1 2 3 4 5 6 7 8 9 10 11 12", "vif7.1: 1 2 3 4 5 6 7 8 9 10 11 12", "vifx.0: 1 2 3 4 5 6 7 8 9 10 11 12", "vif7.0: 1 2 3", "vif7.0: 1 2 3 4 5 6 7 8 -9 10 11 12"} {
		if pid, got := parseTraffic(line); got != nil {
			t.Errorf("%q: %d %+v", line, pid, got)
		}
	}
}

// FuzzParseTraffic holds that no line of the kernel's ends the engine.
func FuzzParseTraffic(f *testing.F) {
	f.Add("vif7.0: 1 2 3 4 5 6 7 8 9 10 11 12")
	f.Fuzz(func(t *testing.T, line string) { parseTraffic(line) })
}

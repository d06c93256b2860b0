package engine

import (
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// MetricsType is the media type of what Metrics returns.
const MetricsType = "application/openmetrics-text; version=1.0.0; charset=utf-8"

// births tells how long it took to make pVMs since the engine started.
type births struct{ run, fork histogram }

// birthBounds are the upper bounds of the buckets, in seconds.
var birthBounds = [...]float64{1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1}

// histogram counts spans of time by size.
type histogram struct {
	mu      sync.Mutex
	buckets [len(birthBounds) + 1]uint64 // each without those before it
	sum     time.Duration
}

func (h *histogram) observe(d time.Duration) {
	i, _ := slices.BinarySearch(birthBounds[:], d.Seconds())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buckets[i]++
	h.sum += d
}

// Metrics returns the engine's metrics as OpenMetrics 1.0 text. Nothing is started for it, and no pVM is asked.
func (e *Engine) Metrics(ctx context.Context) ([]byte, error) {
	s, err := e.Snapshot(ctx, false)
	if err != nil {
		return nil, err
	}
	info, err := e.Info(ctx)
	if err != nil {
		return nil, err
	}
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return nil, errf(CodeInternal, "getrusage: %v", err)
	}
	// Domains that others made are theirs to measure.
	s.Processes = slices.DeleteFunc(s.Processes, func(p Process) bool { return p.Foreign })

	w := metricWriter{b: make([]byte, 0, 4096+len(s.Processes)*512)}
	w.family("kxsh_engine", "info", "", "The engine and its hypervisor.")
	w.sample("_info", labels("version", info.Version, "hypervisor", info.Hypervisor, "hypervisor_version", info.HVVersion), 1)
	w.gauge("kxsh_engine_start_time_seconds", "seconds", "When the engine started, since the epoch.", epoch(info.Started))
	w.family("kxsh_engine_cpu_seconds", "counter", "seconds", "CPU time of the engine itself, user and system.")
	w.sample("_total", "", time.Duration(own.Utime.Nano()+own.Stime.Nano()).Seconds())
	w.gauge("kxsh_host_cpus", "", "Processors of the host.", float64(info.CPUs))
	w.gauge("kxsh_host_memory_bytes", "bytes", "Memory of the host.", float64(info.Memory))
	w.gauge("kxsh_host_free_memory_bytes", "bytes", "Memory of the host that pVMs can have.", float64(info.FreeMemory))
	w.gauge("kxsh_pool_ready", "", "Blank domains that wait.", float64(info.Pool.Ready))
	w.gauge("kxsh_pool_wanted", "", "Blank domains that should wait.", float64(info.Pool.Want))
	w.gauge("kxsh_placeholders_ready", "", "Placeholders that wait, for run --recycle.", float64(info.Pool.Placeholders.Ready))
	w.gauge("kxsh_placeholders_wanted", "", "Placeholders that should wait once one was used.", float64(info.Pool.Placeholders.Want))
	w.events(e.events.counts())
	w.family("kxsh_birth_seconds", "histogram", "seconds", "From a request to a pVM that runs, its record kept.")
	w.histogram("run", &e.births.run)
	w.histogram("fork", &e.births.fork)
	w.pvms(s.Processes)
	return append(w.b, "# EOF\n"...), nil
}

// epoch is a moment in seconds since 1970, to the microsecond: a float has no more.
func epoch(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// metricWriter writes metric families, each with its samples after it.
type metricWriter struct {
	b    []byte
	name string // of the family
}

// family begins one. unit may be empty; otherwise name ends in it.
func (w *metricWriter) family(name, typ, unit, help string) {
	w.name = name
	w.line("# TYPE ", name, " ", typ)
	if unit != "" {
		w.line("# UNIT ", name, " ", unit)
	}
	w.line("# HELP ", name, " ", help)
}

func (w *metricWriter) line(words ...string) {
	for _, word := range words {
		w.b = append(w.b, word...)
	}
	w.b = append(w.b, '\n')
}

// sample is one value of the family. labels is empty or what labels returns.
func (w *metricWriter) sample(suffix, labels string, value float64) {
	w.b = append(w.b, w.name...)
	w.b = append(w.b, suffix...)
	w.b = append(w.b, labels...)
	w.b = append(w.b, ' ')
	w.b = strconv.AppendFloat(w.b, value, 'f', -1, 64)
	w.b = append(w.b, '\n')
}

// gauge is a family with one value.
func (w *metricWriter) gauge(name, unit, help string, value float64) {
	w.family(name, "gauge", unit, help)
	w.sample("", "", value)
}

func (w *metricWriter) events(counts map[string]uint64) {
	w.family("kxsh_events", "counter", "", "Events since the engine started, by type, as kxsh events has them.")
	for _, typ := range slices.Sorted(maps.Keys(counts)) {
		w.sample("_total", labels("type", typ), float64(counts[typ]))
	}
}

func (w *metricWriter) histogram(how string, h *histogram) {
	h.mu.Lock()
	buckets, sum := h.buckets, h.sum
	h.mu.Unlock()
	total := uint64(0)
	for i, n := range buckets {
		bound := "+Inf"
		if i < len(birthBounds) {
			if bound = strconv.FormatFloat(birthBounds[i], 'f', -1, 64); birthBounds[i] == math.Trunc(birthBounds[i]) {
				bound += ".0" // the canonical form
			}
		}
		total += n
		w.sample("_bucket", labels("how", how, "le", bound), float64(total))
	}
	w.sample("_count", labels("how", how), float64(total))
	w.sample("_sum", labels("how", how), sum.Seconds())
}

// pvmStates are the values of STAT that pVMs have which are not over, as the label has them.
var pvmStates = [...]struct{ stat, label string }{{"R", "running"}, {"S", "blocked"}, {"T", "stopped"}, {"Z", "dead"}}

// pvms counts pVMs by state, and has what each of those uses that have not ended.
func (w *metricWriter) pvms(ps []Process) {
	states, families := map[string]int{}, map[int]bool{}
	live, names := ps[:0:0], []string(nil)
	for _, p := range ps {
		states[p.Stat]++
		families[p.Family] = true
		if p.Exit == nil {
			live = append(live, p)
			names = append(names, labels("pid", strconv.Itoa(p.PID), "family", strconv.Itoa(p.Family), "name", p.Name))
		}
	}
	w.family("kxsh_pvms", "gauge", "", "pVMs by state; dead ones have not been waited for, or their frames are in use.")
	for _, s := range pvmStates {
		w.sample("", labels("state", s.label), float64(states[s.stat]))
	}
	w.gauge("kxsh_families", "", "Families of pVMs.", float64(len(families)))
	each := func(name, typ, unit, help, suffix string, value func(*Process) float64) {
		w.family(name, typ, unit, help)
		for i := range live {
			w.sample(suffix, names[i], value(&live[i]))
		}
	}
	each("kxsh_pvm_cpu_seconds", "counter", "seconds", "CPU time of a pVM.", "_total", func(p *Process) float64 { return p.Time.Seconds() })
	each("kxsh_pvm_memory_bytes", "gauge", "bytes", "Memory that a pVM uses.", "", func(p *Process) float64 { return float64(p.Memory) })
	each("kxsh_pvm_memory_limit_bytes", "gauge", "bytes", "Memory that a pVM may use.", "", func(p *Process) float64 { return float64(p.MaxMem) })
	each("kxsh_pvm_shared_memory_bytes", "gauge", "bytes", "What of its memory other domains use, too.", "", func(p *Process) float64 { return float64(p.Shared) })
	each("kxsh_pvm_copy_on_write_bytes", "gauge", "bytes", "What of its shared memory a fork shares, until somebody writes to it.", "", func(p *Process) float64 { return float64(p.CoW) })
	w.traffic(live, names)
	each("kxsh_pvm_start_time_seconds", "gauge", "seconds", "When a pVM started, since the epoch.", "", func(p *Process) float64 { return epoch(p.Started) })
}

// traffic has what has passed the devices of those that have one.
func (w *metricWriter) traffic(live []Process, names []string) {
	for _, c := range []struct {
		name, unit, help string
		value            func(*Traffic) uint64
	}{
		{"kxsh_pvm_network_receive_bytes", "bytes", "Bytes that a pVM has received.", func(t *Traffic) uint64 { return t.ReceivedBytes }},
		{"kxsh_pvm_network_receive_packets", "", "Packets that a pVM has received.", func(t *Traffic) uint64 { return t.ReceivedPackets }},
		{"kxsh_pvm_network_receive_dropped_packets", "", "Packets for a pVM that found no room.", func(t *Traffic) uint64 { return t.Dropped }},
		{"kxsh_pvm_network_transmit_bytes", "bytes", "Bytes that a pVM has sent.", func(t *Traffic) uint64 { return t.SentBytes }},
		{"kxsh_pvm_network_transmit_packets", "", "Packets that a pVM has sent.", func(t *Traffic) uint64 { return t.SentPackets }},
	} {
		w.family(c.name, "counter", c.unit, c.help)
		for i := range live {
			if t := live[i].Traffic; t != nil {
				w.sample("_total", names[i], float64(c.value(t)))
			}
		}
	}
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// labels is a set of labels, of names and values in turn.
func labels(pairs ...string) string {
	b := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, pairs[i]...)
		b = append(b, `="`...)
		b = append(b, escapeLabel.Replace(strings.ToValidUTF8(pairs[i+1], "?"))...)
		b = append(b, '"')
	}
	return string(append(b, '}'))
}

package shell

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"mvdan.cc/sh/v3/syntax"

	"kxsh/elf"
	"kxsh/engine"
)

var inspectCommand = Command{
	Name:     "inspect",
	Synopsis: "[--json] PID|IMAGE…",
	Short:    "show everything about a pVM or an image",
	Long: "A queue and a pipe that a pVM has a part in are shown with what is in them, who uses them (writers > readers), how many bytes have come in so far and\n" +
		"how many a second do now, which takes a moment to measure. All of it is the word of the family's members. What passes its network\n" +
		"device is what the host has counted.",
	Examples: []string{"inspect web", "inspect --json 7 | jq .steps", "inspect ./hello.kx"},
	Flags:    jsonFlag,
	Args:     PVMOrFile,
	Pages:    true,
	Run:      inspect,
}

// inspect prints an array with --json only if it was asked about several.
func inspect(c *Call) error {
	if err := c.want(1, -1); err != nil {
		return err
	}
	var all []any
	failed := false
	for i, arg := range c.Args {
		v, err := c.inspectOne(arg, i > 0)
		if err != nil {
			if codeOf(err) == engine.CodeEngine || c.Err() != nil {
				return err
			}
			failed = true
			c.warnf("%s", oneLine(err.Error()))
			continue
		}
		all = append(all, v)
	}
	if c.flagBool("json") && len(all) > 0 {
		var v any = all
		if len(c.Args) == 1 {
			v = all[0]
		}
		if err := writeJSON(c.Stdout, v); err != nil {
			return err
		}
	}
	if failed {
		return Status(1)
	}
	return nil
}

// inspectOne inspects a file if arg looks like a path or is a file, else a pVM. It prints text unless
// --json was given, after an empty line if it is not the first.
func (c *Call) inspectOne(arg string, more bool) (any, error) {
	if more && !c.flagBool("json") {
		fmt.Fprintln(c.Stdout)
	}
	if c.isImage(arg) {
		img, err := readImage(c.Path(arg))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		if c.flagBool("json") {
			return img, nil
		}
		return img, c.imageText(arg, img)
	}
	api, err := c.Engine()
	if err != nil {
		return nil, err
	}
	pid, err := c.one(api, arg, true)
	if err != nil {
		return nil, err
	}
	d, err := api.Inspect(c, pid)
	if err != nil {
		return nil, aboutPVM(arg, err)
	}
	c.measure(api, d)
	if c.flagBool("json") {
		return d, nil
	}
	return d, c.detailText(d)
}

// isImage tells whether an argument means a file, not a pVM.
func (c *Call) isImage(arg string) bool {
	fi, err := os.Stat(c.Path(arg))
	return strings.Contains(arg, "/") || strings.HasSuffix(arg, ".kx") || err == nil && fi.Mode().IsRegular()
}

// imageInfo is inspect IMAGE --json.
type imageInfo struct {
	Path      string        `json:"path"`
	Size      int64         `json:"size"`
	ABI       uint32        `json:"abi"`
	Entry     uint64        `json:"entry"`
	Hypercall uint64        `json:"hypercall_page"`
	Stack     uint64        `json:"stack"`
	Memory    uint64        `json:"memory"`
	Root      uint64        `json:"root_bytes"`
	Segments  []segmentInfo `json:"segments"`
}

type segmentInfo struct {
	Address  uint64 `json:"address"`
	Memory   uint64 `json:"memory"`
	Offset   uint64 `json:"offset"`
	FileSize uint64 `json:"file_size"`
	Flags    string `json:"flags"`
}

// openImage checks an image, whose file stays open until done is called.
func openImage(path string) (m *elf.Image, done func() error, err error) {
	f, fi, err := engine.OpenRegular(path, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if m, err = elf.ParseImage(f, fi.Size()); err != nil {
		return nil, nil, fmt.Errorf("not a pVM image: %w", err)
	}
	return m, f.Close, nil
}

func readImage(path string) (*imageInfo, error) {
	m, done, err := openImage(path)
	if err != nil {
		return nil, err
	}
	defer done()
	info := &imageInfo{Path: path, Size: m.Size, ABI: m.ABI, Entry: m.Entry, Hypercall: m.HypercallPage,
		Stack: m.StackSize, Memory: m.Memory, Root: m.Root.Len}
	for _, s := range m.Segments {
		info.Segments = append(info.Segments, segmentInfo{s.VA, s.MemSize, s.Off, s.FileSize, protText(s.Prot)})
	}
	return info, nil
}

func protText(p elf.Prot) string {
	text := []byte("---")
	for i, bit := range []elf.Prot{elf.Read, elf.Write, elf.Exec} {
		if p&bit != 0 {
			text[i] = "rwx"[i]
		}
	}
	return string(text)
}

func (c *Call) imageText(arg string, m *imageInfo) error {
	f := fields{c: c}
	f.add("image", "%s, %s", arg, humanBytes(uint64(m.Size)))
	f.add("abi", "%d", m.ABI)
	f.add("entry", "%#x", m.Entry)
	f.add("hypercalls", "%#x", m.Hypercall)
	f.add("stack", "%s", orDefault(m.Stack))
	f.add("memory", "%s", orDefault(m.Memory))
	if m.Root > 0 {
		f.add("root", "%s of tar archive", humanBytes(m.Root))
	}
	for _, s := range m.Segments {
		f.add("segment", "%s %#x %s, %s of it from the file", s.Flags, s.Address, humanBytes(s.Memory), humanBytes(s.FileSize))
	}
	return f.write()
}

func orDefault(n uint64) string {
	if n == 0 {
		return "the default"
	}
	return humanBytes(n)
}

// detailText prints a pVM for people.
func (c *Call) detailText(d *engine.Detail) error {
	f := fields{c: c}
	f.add("pid", "%d, parent %d, family %d", d.PID, d.PPID, d.Family)
	f.add("name", "%s", d.Name)
	f.add("state", "%s", stateText(&d.Process))
	if d.Foreign {
		return c.foreignText(&f, d)
	}
	if len(d.Children) > 0 {
		f.add("children", "%s", strings.Trim(fmt.Sprint(d.Children), "[]"))
	}
	if d.MaxFamily > 0 {
		f.add("family", "%d members of at most %d", d.Members, d.MaxFamily)
	}
	f.add("image", "%s", d.Image)
	f.add("sha256", "%s", d.ImageSHA)
	if s := d.Seal; s != nil {
		f.add("signed", "%s version %d, loader %s, by %s", s.Name, s.Version, s.Loader, s.Key)
	}
	for _, l := range d.Libraries {
		f.add("library", "%s, %s, loader %s", l.Name, l.Path, l.Loader)
	}
	f.add("args", "%s", quoteArgs(d.Args))
	for _, kv := range d.Env {
		f.add("env", "%s", kv)
	}
	for _, m := range d.Mounts {
		only := ""
		if m.ReadOnly {
			only = ", read-only"
		}
		f.add("folder", "%s at %s%s", m.Host, m.Path, only)
	}
	f.add("started", "%s by uid %d", d.Started.Local().Format("2006-01-02 15:04:05.000"), d.UID)
	if d.MainAfter > 0 {
		f.add("main after", "%s", humanDuration(d.MainAfter))
	}
	f.add("steps", "%s", stepsLine(d.Steps))
	f.add("memory", "%s of at most %s: %s private, %s copy on write, %s shared", humanBytes(d.Memory), humanBytes(d.MaxMem),
		humanBytes(d.Private()), humanBytes(d.CoW), humanBytes(d.Held()))
	f.add("cpu", "%.1f%%, %s; weight %d, CPUs %s%s", d.CPU, clock(d.Time), d.Weight, formatCPUs(d.CPUs), spinText(d.NoSpin))
	if d.HostPID != 0 {
		f.add("host pid", "%d", d.HostPID)
	}
	if d.Net != "" {
		f.add("network", "%s, %s", d.Net, cmp.Or(d.IP, "no address"))
		if d.Vif != "" {
			f.add("interface", "%s", d.Vif)
		}
		if t := d.Traffic; t != nil {
			f.add("received", "%s", trafficText(t.ReceivedBytes, t.ReceivedPackets, t.ReceiveRate)+droppedText(t))
			f.add("sent", "%s", trafficText(t.SentBytes, t.SentPackets, t.SendRate))
		}
		for _, ports := range d.Publish {
			f.add("published", "%s", ports)
		}
	}
	f.add("restart", "%s, restarted %d times", restartText(d.Restart), d.Restarts)
	if d.RestartOf != 0 {
		f.add("instead of", "%d", d.RestartOf)
	}
	f.add("log", "%s, size %s, %s rotated away", d.LogPath, humanBytes(uint64(d.LogBytes)), humanBytes(uint64(d.LogLost)))
	for i := range d.Shares {
		o := &d.Shares[i]
		f.add("shares", "%s %d, %s, by %s%s", o.Kind, o.ID, depthText(o), objectPIDs(o), throughputText(o))
	}
	if d.Exit != nil {
		text := fmt.Sprintf("status %d at %s", d.Exit.Code, d.Exit.Time.Local().Format("15:04:05.000"))
		if d.Exit.Reason != "" {
			text += ": " + oneLine(d.Exit.Reason)
		}
		f.add("exit", "%s", text)
	}
	for line := range strings.Lines(d.Crash) {
		f.add("crash", "%s", strings.TrimRight(line, "\n"))
	}
	return f.write()
}

// trafficText is what has passed a network device one way, and passes now.
func trafficText(bytes, packets uint64, rate *uint64) string {
	text := fmt.Sprintf("%s in %d packets", humanBytes(bytes), packets)
	if rate != nil {
		text += fmt.Sprintf(", %s/s", humanBytes(*rate))
	}
	return text
}

func droppedText(t *engine.Traffic) string {
	if t.Dropped == 0 {
		return ""
	}
	return fmt.Sprintf(", %d more found no room", t.Dropped)
}

// rateSpan is how long inspect looks what goes through queues, pipes and the network.
const rateSpan = 200 * time.Millisecond

// measure finds how much goes through the channels and the network of a pVM now: what they have counted is looked at once more a moment
// later. One that has gone by then, or that nobody can tell of, has no rate.
func (c *Call) measure(api engine.API, d *engine.Detail) {
	if d.Traffic == nil && !slices.ContainsFunc(d.Shares, func(o engine.SharedObject) bool { return o.Channel() }) {
		return
	}
	begin := time.Now()
	select {
	case <-time.After(rateSpan):
	case <-c.Done():
		return
	}
	later, err := api.Inspect(c, d.PID)
	if err != nil || !later.Started.Equal(d.Started) {
		return
	}
	took := time.Since(begin)
	d.Traffic = later.Traffic.Since(d.Traffic, took)
	for i := range d.Shares {
		o := &d.Shares[i]
		at := slices.IndexFunc(later.Shares, func(now engine.SharedObject) bool { return now.Kind == o.Kind && now.ID == o.ID })
		if at >= 0 {
			o.Rate = later.Shares[at].RateSince(o, took)
		}
	}
}

// depthText is how much is in something that a family shares.
func depthText(o *engine.SharedObject) string {
	text := fmt.Sprintf("%d bytes", o.Bytes)
	if o.Channel() {
		text = fmt.Sprintf("%d of %d bytes", o.Bytes, o.MaxBytes)
	}
	if o.Kind == engine.KindQueue {
		text = fmt.Sprintf("%d messages, %s", o.Count, text)
	}
	return text
}

// throughputText is what has gone through a channel, and goes now.
func throughputText(o *engine.SharedObject) string {
	if !o.Channel() {
		return ""
	}
	text := fmt.Sprintf(", %s so far", humanBytes(o.TotalBytes))
	if o.Rate != nil {
		text += fmt.Sprintf(", %s/s", humanBytes(*o.Rate))
	}
	return text
}

// foreignText ends the lines about a domain that somebody else made: what the hypervisor knows.
func (c *Call) foreignText(f *fields, d *engine.Detail) error {
	f.add("uuid", "%s", d.UUID)
	if !d.Started.IsZero() {
		f.add("started", "%s", d.Started.Local().Format("2006-01-02 15:04:05"))
	}
	f.add("vcpus", "%d", d.VCPUs)
	f.add("memory", "%s of at most %s", humanBytes(d.Memory), humanBytes(d.MaxMem))
	f.add("cpu", "%.1f%%, %s", d.CPU, clock(d.Time))
	return f.write()
}

func stateText(p *engine.Process) string {
	text := map[string]string{"R": "running", "S": "blocked", "T": "stopped", "Z": "dead, its frames still in use", "X": "ended"}[p.Stat]
	if p.Stat == "Z" && p.Exit != nil {
		text = fmt.Sprintf("ended, %d has not waited for it", p.PPID)
	}
	if p.Foreign {
		text += ", made by somebody else"
	}
	return strings.TrimPrefix(p.Stat+", "+text, ", ")
}

func restartText(r engine.Restart) string {
	if r.Policy == "" {
		return "no"
	}
	if r.Max > 0 {
		return fmt.Sprintf("%s:%d", r.Policy, r.Max)
	}
	return r.Policy
}

// quoteArgs writes arguments as one would type them.
func quoteArgs(args []string) string {
	var out []string
	for _, a := range args {
		if q, err := syntax.Quote(a, syntax.LangBash); err == nil {
			a = q
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

func spinText(forbidden bool) string {
	if forbidden {
		return ", no spin"
	}
	return ""
}

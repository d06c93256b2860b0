package bench

import (
	"fmt"
	"os"
	"strings"

	"kxsh/xen"
)

// fact is one line of what the machine is.
type fact struct{ what, value string }

// facts describe the machine, and how busy it is now.
func facts(hv *xen.Info) []fact {
	cpus, virtual := processors()
	if virtual && hv.Name != "xen" {
		cpus += ", of a virtual machine"
	}
	system := "Linux " + firstLine("/proc/sys/kernel/osrelease")
	if name := field("/etc/os-release", "PRETTY_NAME", "="); name != "" {
		system += ", " + strings.Trim(name, `"`)
	}
	memory, over := gibibytes(memTotal()), "hosted, each pVM a process in a sandbox: "+strings.Join(hv.Sandbox, ", ")
	if hv.Name == "xen" {
		memory = gibibytes(hv.Memory) + ", dom0 has " + memory
		over = fmt.Sprintf("Xen %s on %d processors, scheduler %s", hv.Version, hv.CPUs, hv.Scheduler)
	}
	var list []fact
	if maker, model := firstLine("/sys/class/dmi/id/sys_vendor"), firstLine("/sys/class/dmi/id/product_name"); maker != "" && model != "" {
		list = append(list, fact{"Machine", maker + " " + model})
	}
	list = append(list, []fact{{"Processors", cpus}, {"Memory", memory}, {"System", system}, {"Hypervisor", over}}...)
	if load := strings.Fields(firstLine("/proc/loadavg")); len(load) >= 3 {
		list = append(list, fact{"Load at the start", strings.Join(load[:3], ", ") + " of 1, 5 and 15 minutes"})
	}
	return list
}

// machine describes the host in one line.
func machine(hv *xen.Info) string {
	cpus, _ := processors()
	line := cpus + ", Linux " + firstLine("/proc/sys/kernel/osrelease")
	if hv.Name == "xen" {
		line += fmt.Sprintf(" as dom0 of Xen %s on %d CPUs", hv.Version, hv.CPUs)
	}
	return line
}

// processors are how many there are and what they call themselves, and whether they are a virtual machine's.
func processors() (name string, virtual bool) {
	text, _ := os.ReadFile("/proc/cpuinfo")
	name = field("/proc/cpuinfo", "model name", ":")
	if name == "" {
		name = "unknown CPU"
	}
	flags := strings.Fields(field("/proc/cpuinfo", "flags", ":"))
	for _, f := range flags {
		virtual = virtual || f == "hypervisor"
	}
	return fmt.Sprintf("%d × %s", strings.Count(string(text), "processor\t"), name), virtual
}

// memTotal is this system's memory, bytes; 0: it is not told.
func memTotal() uint64 {
	var kib uint64
	fmt.Sscanf(field("/proc/meminfo", "MemTotal", ":"), "%d kB", &kib)
	return kib << 10
}

func gibibytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }

// field is the first value of a key in a file of lines; "" if there is none.
func field(path, key, sep string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, sep); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func firstLine(path string) string {
	b, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

package guest

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ccMode is how far a compilation goes.
type ccMode int

const (
	ccInfo    ccMode = iota // nothing to compile: --version, -print-*, or gcc's own complaint
	ccCompile               // -c, -S, -E, -M, -MM, -fsyntax-only
	ccPartial               // -r: an object file from object files
	ccLink                  // a program
	ccShare                 // a shared library
)

// ccArgs is a command line of cc, understood as far as a driver in front of gcc must.
type ccArgs struct {
	mode   ccMode
	pass   []string // for gcc, without the -kx- options
	output string   // of -o; "a.out" in ccLink and ccShare without it
	pic    bool     // the last word on it was -fPIC or -fpic
	shared bool     // ccLink: at least one input is a shared library, or some may come while the program runs
	opens  bool     // ccLink: they may (dlopen)
	find   libraryFinder
	stdin  bool   // "-" is an input
	nostd  bool   // -nostdinc: the program brings its own headers
	dryRun bool   // -###: nothing is written
	stack  uint64 // -kx-stack, bytes; 0: not given
	memory uint64 // -kx-memory
	root   string // -kx-root: folder or tar file
}

// withArgument are gcc's options whose argument is the next word.
var withArgument = map[string]bool{
	"-o": true, "-I": true, "-D": true, "-U": true, "-L": true, "-l": true, "-x": true, "-T": true, "-u": true,
	"-z": true, "-e": true, "-A": true, "-B": true, "-G": true, "-h": true, "-R": true, "-include": true,
	"-imacros": true, "-idirafter": true, "-iprefix": true, "-iwithprefix": true, "-iwithprefixbefore": true,
	"-isystem": true, "-iquote": true, "-isysroot": true, "-imultilib": true, "-imultiarch": true,
	"-Xlinker": true, "-Xassembler": true, "-Xpreprocessor": true, "-MF": true, "-MT": true, "-MQ": true,
	"-aux-info": true, "--param": true, "-wrapper": true, "-dumpbase": true, "-dumpbase-ext": true,
	"-dumpdir": true, "--sysroot": true,
}

// compileOnly are the options after which nothing is linked.
var compileOnly = map[string]bool{"-c": true, "-S": true, "-E": true, "-M": true, "-MM": true, "-fsyntax-only": true}

// exporting are the options with which a program lets others use its symbols. Without one nothing could be loaded that needs anything.
var exporting = []string{"-rdynamic", "-Wl,-E", "-Wl,-export-dynamic", "-Wl,--export-dynamic"}

// refused are options that cannot work in a pVM. A name that ends in = stands for all its values;
// others must match whole. Those marked link matter only when a program or a library is linked.
var refused = []struct {
	option string
	link   bool
	why    string
}{
	{"-static-pie", true, "a pVM is linked at a fixed address"},
	{"-nostdlib", true, "a pVM needs the SDK's libraries"},
	{"-nodefaultlibs", true, "a pVM needs the SDK's libraries"},
	{"-nolibc", true, "a pVM needs the SDK's libraries"},
	{"-nostartfiles", true, "a pVM needs the SDK's start files"},
	{"-mred-zone", false, "a pVM has no red zone: events are delivered on the program's stack"},
	{"-m32", false, "a pVM is a 64-bit program"},
	{"-mx32", false, "a pVM is a 64-bit program"},
	{"-m16", false, "a pVM is a 64-bit program"},
	{"-pg", false, "the SDK has no profiling library"},
	{"--coverage", false, "the SDK has no coverage library"},
	{"-coverage", false, "the SDK has no coverage library"},
	{"-fprofile-arcs", false, "the SDK has no coverage library"},
	{"-fprofile-generate", false, "the SDK has no profiling library"},
	{"-fopenmp", false, "the SDK has no OpenMP library"},
	{"-fopenacc", false, "the SDK has no OpenACC library"},
	{"-fsplit-stack", false, "the SDK has no split stacks"},
	{"-fgnu-tm", false, "the SDK has no transactional memory library"},
	{"-fsanitize=", false, "the SDK has no sanitizer library (-fsanitize-undefined-trap-on-error does without one)"},
}

// cxxSuffixes are the names of C++ files, as gcc has them.
var cxxSuffixes = []string{".cc", ".cp", ".cxx", ".cpp", ".CPP", ".c++", ".C", ".ii"}

// parseCC reads a command line. dir is where relative @files are.
func parseCC(args []string, dir string) (*ccArgs, error) {
	args, err := expandFiles(args, dir, 0)
	if err != nil {
		return nil, err
	}
	a := &ccArgs{mode: ccLink}
	inputs, partial, share, static := 0, false, false, false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if strings.HasPrefix(arg, "-kx-") {
			if err := a.own(arg); err != nil {
				return nil, err
			}
			continue
		}
		a.pass = append(a.pass, arg)
		if arg == "-" || !strings.HasPrefix(arg, "-") {
			inputs++
			a.stdin = a.stdin || arg == "-"
			a.find.file(arg)
			if slices.Contains(cxxSuffixes, filepath.Ext(arg)) {
				return nil, fmt.Errorf("%s: C++ is not supported: the SDK has no C++ library", arg)
			}
			continue
		}
		value := ""
		if withArgument[arg] {
			if i++; i == len(args) {
				return nil, fmt.Errorf("%s: needs an argument", arg)
			}
			value = args[i]
			a.pass = append(a.pass, value)
		} else if len(arg) > 2 {
			value = arg[2:]
		}
		switch {
		case arg == "-r":
			partial = true
		case arg == "-shared":
			share = true
		case arg == "-static":
			static = true
		case arg == "-fPIC" || arg == "-fpic":
			a.pic = true
		case arg == "-fno-pic" || arg == "-fno-PIC" || arg == "-fPIE" || arg == "-fpie" || arg == "-fno-pie" || arg == "-fno-PIE":
			a.pic = false
		case arg == "-nostdinc":
			a.nostd = true
		case arg == "-###":
			a.dryRun = true
		case compileOnly[arg]:
			a.mode = ccCompile
		case strings.HasPrefix(arg, "-l") && value != "":
			inputs++
			a.find.names = append(a.find.names, value)
		case strings.HasPrefix(arg, "-L") && value != "":
			a.find.folders = append(a.find.folders, value)
		case arg == "-o" || strings.HasPrefix(arg, "-o"):
			a.output = value
		case strings.HasPrefix(arg, "-x") && strings.Contains(value, "c++"):
			return nil, fmt.Errorf("-x %s: C++ is not supported: the SDK has no C++ library", value)
		}
	}
	switch {
	case partial && a.mode == ccLink:
		a.mode = ccPartial
	case inputs == 0:
		a.mode = ccInfo
	case share && a.mode == ccLink:
		a.mode = ccShare
	case a.mode == ccLink:
		a.opens = !static && slices.ContainsFunc(a.pass, func(arg string) bool { return slices.Contains(exporting, arg) })
		a.shared = a.opens || !static && a.find.shared(dir)
	}
	if (a.mode == ccLink || a.mode == ccShare) && a.output == "" {
		a.output = "a.out"
	}
	return a, a.refuse()
}

// libraryFinder tells, as the linker will find it, whether anything on a command line is a shared library.
type libraryFinder struct {
	folders, names, files []string
}

// file notes an input file.
func (l *libraryFinder) file(name string) {
	base := filepath.Base(name)
	if strings.HasSuffix(base, ".so") || strings.Contains(base, ".so.") {
		l.files = append(l.files, name)
	}
}

// near are the folders where the libraries may be that libraries need.
func (l *libraryFinder) near() []string {
	folders := slices.Clone(l.folders)
	for _, file := range l.files {
		folders = append(folders, filepath.Dir(file))
	}
	return folders
}

func (l *libraryFinder) shared(dir string) bool {
	if len(l.files) > 0 {
		return true
	}
	return slices.ContainsFunc(l.names, func(name string) bool { return l.sharedName(name, dir) })
}

// sharedName tells it of -lNAME: in each folder the linker prefers a shared library, and the SDK's own is the last of the folders.
func (l *libraryFinder) sharedName(name, dir string) bool {
	files := []string{"lib" + name + ".so", "lib" + name + ".a"}
	if file, exact := strings.CutPrefix(name, ":"); exact {
		files = []string{file}
	}
	for _, folder := range l.folders {
		if !filepath.IsAbs(folder) {
			folder = filepath.Join(dir, folder)
		}
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(folder, file)); err == nil {
				return strings.Contains(file, ".so")
			}
		}
	}
	_, err := fs.Stat(Libraries(), files[0])
	return err == nil
}

// refuse finds an option that cannot be had, and says why.
func (a *ccArgs) refuse() error {
	if a.mode == ccShare && (a.stack != 0 || a.memory != 0 || a.root != "") {
		return fmt.Errorf("-shared: -kx-stack, -kx-memory and -kx-root are for programs")
	}
	trapping := slices.Contains(a.pass, "-fsanitize-undefined-trap-on-error") || slices.Contains(a.pass, "-fsanitize-trap")
	for _, arg := range a.pass {
		for _, r := range refused {
			if arg != r.option && !(strings.HasSuffix(r.option, "=") && strings.HasPrefix(arg, r.option)) {
				continue
			}
			if r.link && a.mode != ccLink && a.mode != ccShare || trapping && r.option == "-fsanitize=" {
				continue
			}
			return fmt.Errorf("%s: %s", arg, r.why)
		}
	}
	return nil
}

// Limits of -kx-stack and -kx-memory, bytes. The upper ones are far below what an address allows.
const (
	minStack, maxStack   = 16 << 10, 1 << 30
	minMemory, maxMemory = 256 << 10, 1 << 40
)

// own reads one of our own options, -kx-NAME=VALUE.
func (a *ccArgs) own(arg string) (err error) {
	name, value, found := strings.Cut(arg, "=")
	switch {
	case !found || value == "":
		return fmt.Errorf("%s: needs a value: %s=VALUE", name, name)
	case name == "-kx-stack":
		a.stack, err = parseSize(value, minStack, maxStack)
	case name == "-kx-memory":
		a.memory, err = parseSize(value, minMemory, maxMemory)
	case name == "-kx-root":
		a.root = value
	default:
		return fmt.Errorf("%s: no such option: there are -kx-stack=SIZE, -kx-memory=SIZE, -kx-root=DIR|TAR", name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", arg, err)
	}
	return nil
}

// parseSize reads a number of bytes with an optional K, M or G (powers of 1024) and rounds it up to
// whole pages.
func parseSize(s string, least, most uint64) (uint64, error) {
	digits, shift := s, 0
	switch strings.ToUpper(s[len(s)-1:]) {
	case "K":
		shift = 10
	case "M":
		shift = 20
	case "G":
		shift = 30
	}
	if shift > 0 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("not a size: write bytes, or a number with K, M or G")
	}
	if n <<= shift; n < least || n > most {
		return 0, fmt.Errorf("out of range: from %dK to %dK", least>>10, most>>10)
	}
	return (n + 0xfff) &^ 0xfff, nil
}

// maxNested is how deep @files may name each other.
const maxNested = 16

// expandFiles replaces each @FILE by the words in it, quoted as gcc has it. A word whose file cannot be
// read stays as it is, as with gcc.
func expandFiles(args []string, dir string, depth int) ([]string, error) {
	var out []string
	for _, arg := range args {
		name, found := strings.CutPrefix(arg, "@")
		if !found {
			out = append(out, arg)
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			out = append(out, arg)
			continue
		}
		if depth == maxNested {
			return nil, fmt.Errorf("%s: @files nested too deep", arg)
		}
		words, err := expandFiles(splitWords(string(text)), dir, depth+1)
		if err != nil {
			return nil, err
		}
		out = append(out, words...)
	}
	return out, nil
}

// splitWords splits at white space; quotes keep it, a backslash keeps any one character.
func splitWords(text string) (words []string) {
	var word strings.Builder
	inWord, quote, escaped := false, rune(0), false
	for _, c := range text {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\':
			inWord, escaped = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			inWord, quote = true, c
		case strings.ContainsRune(" \t\n\r\v\f", c):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			inWord = true
			word.WriteRune(c)
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

package shell

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// letters are how the tests write kinds.
const letters = ".CUKOQV#"

// marked writes the kinds of a program, in which blanks are blanks.
func marked(program string) string {
	known := func(name string) bool {
		return slices.Contains(strings.Fields("ls echo test [ ps cat exit ./here command exec builtin"), name)
	}
	text := []rune(program)
	var b strings.Builder
	for i, k := range kindsOf(text, known) {
		if c := text[i]; k == kindPlain && (c == ' ' || c == '\n' || c == '\t') {
			b.WriteRune(c)
		} else {
			b.WriteByte(letters[k])
		}
	}
	return b.String()
}

func TestHighlight(t *testing.T) {
	for _, c := range []struct{ program, want string }{
		{``, ``},
		{`ls -l x`, `CC .. .`},
		{`lss -l`, `UUU ..`},
		{`./here; ./there`, `CCCCCCO UUUUUUU`},
		{`X=1 Y+=2 Z[3]=4 ls a=b`, `VV. VVV. VVVVV. CC ...`},
		{`x=(a $b) ls`, `VVO. VVO CC`},
		{`ls | cat&&no||ps;ls&`, `CC O CCCOOUUOOCCOCCO`},
		{`ls >a 2>&1 <b >>c &>d`, `CC O. OOO. O. OO. OO.`},
		{`>f ls x>y`, `O. CC .O.`},
		{`echo 2 a2>b`, `CCCC . ..O.`},
		{`ls # no "comment`, `CC #############`},
		{`echo a#b $# ${#x}`, `CCCC ... VV VVVVV`},
		{`echo 'a $b' "a $b c" x`, `CCCC QQQQQQ QQQVVQQQ .`},
		{`echo "a \" ${x:-"b"} $(ls "c")" d`, `CCCC QQQQQQVVVVVQQQVQVVCC QQQVQ .`},
		{`echo "${x:-it's}" b`, `CCCC QVVVVVVVVVVQ .`},
		{`echo $'a\'b' $"c" \$d`, `CCCC QQQQQQQ QQQQ QQ.`},
		{`echo $x$1$?${y}z $ "$"`, `CCCC VVVVVVVVVV. . QQQ`},
		{"echo `ls \\`no\\` |ps` x", "CCCC VCC QQ..QQ OCCV ."},
		{`echo $(no $(ls) | ps) x`, `CCCC VVUU VVCCV O CCV .`},
		{`echo $((1+$x*(2))) y`, `CCCC VVV..VV....VV .`},
		{`((x=1)); ls`, `OO...OOO CC`},
		{`"$x" a; l's' a; l*s`, `QVVQ .O .QQQ .O ...`},
		{`if ls; then no; elif ! ps; else ls; fi >x`, `KK CCO KKKK UUO KKKK K CCO KKKK CCO KK O.`},
		{`while ls; do ps; done | cat`, `KKKKK CCO KK CCO KKKK O CCC`},
		{`for i in ls do; do ls; done`, `KKK V KK .. ..O KK CCO KKKK`},
		{`for i; do ls; done`, `KKK VO KK CCO KKKK`},
		{`for ((i=0;i<3;i++)); do ls; done`, `KKK OO...........OOO KK CCO KKKK`},
		{`case $x in a|b) ls;; (no) ps;; esac; ls`, `KKKK VV KK .O.O CCOO O..O CCOO KKKKO CC`},
		{"case x\nin\na) ls\nesac", "KKKK .\nKK\n.O CC\nKKKK"},
		{`echo $(case x in a) ls;; esac) b`, `CCCC VVKKKK . KK .O CCOO KKKKV .`},
		{`{ while ls; do ls; done } | if ls; then (ls) fi; x done`, `K KKKKK CCO KK CCO KKKK K O KK CCO KKKK OCCO KKO U ....`},
		{"x=(a # b)\n)", "VVO. ####\nO"},
		{`{ ls; no; } | (ps; no)`, `K CCO UUO K O OCCO UUO`},
		{`f() { ls; }; f; g`, `COO K CCO KO CO U`},
		{`function f { f; }`, `KKKKKKKK C K CO K`},
		{`[[ -f x && $y == (a|b) ]] && ls`, `KK .. . OO VV .. O.O.O KK OO CC`},
		{`[ a ] && !(ls)`, `C . . OO KOCCO`},
		{`time -p ls !(a|b)`, `KKKK .. CC .O...O`},
		{`command ls if; exec -l >x no a | builtin if`, `CCCCCCC CC ..O CCCC .. O. UU . O CCCCCCC UU`},
		{`command -v no; exec "$x" ls; exec 2>x`, `CCCCCCC .. ..O CCCC QVVQ ..O CCCC OO.`},
		{`time ! command exec ls; command no`, `KKKK K CCCCCCC CCCC CCO CCCCCCC UU`},
		{`cat <(ls) >(no)`, `CCC VVCCV VVUUV`},
		{`cat <<<"a" b`, `CCC OOOQQQ .`},
		{"cat <<E; ps\na $x 'b\nE\nls", "CCC OO.O CC\nQQVVQQQ\nO\nCC"},
		{"cat <<'E' <<-F\n$a\nE\n\t$b\n\tF\nls", "CCC OOQQQ OOO.\nQQ\nO\nQVV\nOO\nCC"},
		{"ls \\\n-l \\", "CC OO.. Q"},
		{"ls␊no", "CC.UU"},
		// what is not finished
		{`echo 'a`, `CCCC QQ`},
		{`echo "a $(ls`, `CCCC QQQVVCC`},
		{"echo `ls", "CCCC VCC"},
		{`echo ${x`, `CCCC VVV`},
		{`ls |`, `CC O`},
		{`if `, `KK `},
		{"cat <<E\na", "CCC OO.\nQ"},
		{`ls ) ls`, `CC O ..`},
		{`x=(`, `VVO`},
		{`\`, `Q`},
		{`日本 a; echo '日' b`, `UU .O CCCC QQQ .`},
	} {
		if got := marked(c.program); got != c.want {
			t.Errorf("%q\nis   %q\nwant %q", c.program, got, c.want)
		}
	}
}

// testHighlighter has another colour for each kind, and knows commands of an even length.
func testHighlighter() *highlighter {
	h := &highlighter{known: func(name string) bool { return len(name)%2 == 0 }}
	for k := 1; k < kinds; k++ {
		h.pens[k] = "\x1b[3" + string(rune('0'+k)) + "m"
	}
	return h
}

var colours = regexp.MustCompile("\x1b\\[[0-9]*m")

// A line that goes on from others knows what it is in.
func TestHighlightContinuation(t *testing.T) {
	h := testHighlighter()
	for _, c := range []struct{ before, line, want string }{
		{"echo 'a\n", "b' c", "\x1b[35mb'\x1b[m c"},
		{"cat <<E\n", "if", "\x1b[35mif\x1b[m"},
		{"if true; then\n", "fi", "\x1b[33mfi\x1b[m"},
		{"echo \\\n", "if", "if"},
		{"", "if", "\x1b[33mif\x1b[m"},
	} {
		h.before.Store([]rune(c.before))
		if got := string(h.Paint([]rune(c.line), 0)); got != c.want {
			t.Errorf("%q after %q is %q, want %q", c.line, c.before, got, c.want)
		}
	}
	h.before.Store([]rune(nil))
	if got, want := string(h.Paint([]rune("ec^C\n"), 0)), "\x1b[31mec\x1b[m^C\n"; got != want {
		t.Errorf("an interrupted line is %q, want %q", got, want)
	}
	if got := string(h.Paint([]rune("echo 'a\x1b'"), 0)); got != "echo 'a\x1b'" {
		t.Errorf("a line with an escape is %q", got)
	}
}

// Whatever the line is, it is the same without its colours, and ends without one.
func FuzzHighlight(f *testing.F) {
	for _, program := range []string{"for i in `ls`; do echo \"$i ${x:-'a'}\" >>b; done", "cat <<E <<-'F'\n$(\nE\n", "case x in (a|b) [[ (", "x=(a (b) @(c) $((1+(2", "f() { $'\\'' }", "日本\t␊#"} {
		for i := range program {
			f.Add(program[:i], program[i:])
		}
	}
	h := testHighlighter()
	f.Fuzz(func(t *testing.T, before, line string) {
		line = string([]rune(line)) // what readline has is no broken UTF-8
		got := string(h.paint([]rune(before), []rune(line)))
		if strings.ContainsFunc(line, unicode.IsControl) && got == line {
			return
		}
		if plain := colours.ReplaceAllString(got, ""); plain != line {
			t.Errorf("%q is shown as %q", line, plain)
		}
		if i := strings.LastIndexByte(got, 0x1b); i >= 0 && !strings.HasPrefix(got[i:], penUp) {
			t.Errorf("%q ends in a colour: %q", line, got)
		}
		if string((&highlighter{}).Paint([]rune(line), 0)) != line {
			t.Errorf("%q is changed by no colours", line)
		}
	})
}

// A key has to be shown at once, also in a long line and in one that was made to take long: within a millisecond.
func BenchmarkHighlight(b *testing.B) {
	s := New(Config{})
	h := testHighlighter()
	h.known = s.knows
	s.words.wanted = true
	s.words.gather(&interp.Runner{Dir: "/"})
	for name, unit := range map[string]string{
		"loop": `for i in 1 2; do echo "$i ${x:-a}" | lss 'a b' >>c; done; `, "commands": "a;", "substitutions": "$(", "quoted": `"$(`, "arrays": "a=(", "braces": "${", "backquotes": "`\\", "paths": "/a/b;",
		"functions": "f();", "here-documents": "<<E;", "arithmetic": "$((", "groups": "@(", "parentheses": "f (", "blanks": "f  ",
	} {
		line := []rune(strings.Repeat(unit, 4096/len(unit)))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.Paint(line, len(line))
			}
		})
	}
}

// parsed is what the parser knows about programs that are whole: where which kinds begin.
func parsed(t *testing.T, program string) map[uint]kind {
	t.Helper()
	f, err := syntax.NewParser(syntax.KeepComments(true)).Parse(strings.NewReader(program), "")
	if err != nil {
		return nil
	}
	at := map[uint]kind{}
	put := func(k kind, positions ...syntax.Pos) {
		for _, p := range positions {
			if p.IsValid() {
				at[p.Offset()] = k
			}
		}
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			if len(n.Args) > 0 && len(n.Args[0].Parts) == 1 && n.Args[0].Lit() != "" && !strings.ContainsAny(n.Args[0].Lit(), "*?{") {
				put(kindCommand, n.Args[0].Pos())
				for i := 1; i < len(n.Args) && namers[n.Args[i-1].Lit()] && !strings.HasPrefix(n.Args[i].Lit(), "-"); i++ {
					put(kindCommand, n.Args[i].Pos())
				}
			}
		case *syntax.DeclClause:
			put(kindCommand, n.Pos())
		case *syntax.LetClause:
			put(kindCommand, n.Pos())
		case *syntax.FuncDecl:
			put(kindCommand, n.Name.Pos())
		case *syntax.IfClause:
			put(kindKeyword, n.Position, n.ThenPos, n.FiPos)
		case *syntax.WhileClause:
			put(kindKeyword, n.WhilePos, n.DoPos, n.DonePos)
		case *syntax.ForClause:
			put(kindKeyword, n.ForPos, n.DoPos, n.DonePos)
		case *syntax.CaseClause:
			put(kindKeyword, n.Case, n.In, n.Esac)
		case *syntax.Block:
			put(kindKeyword, n.Lbrace, n.Rbrace)
		case *syntax.TestClause:
			put(kindKeyword, n.Left, n.Right)
		case *syntax.BinaryCmd:
			put(kindOperator, n.OpPos)
		case *syntax.Subshell:
			put(kindOperator, n.Lparen, n.Rparen)
		case *syntax.Redirect:
			put(kindOperator, n.OpPos)
			if n.Hdoc != nil {
				put(kindQuote, n.Hdoc.Pos())
			}
		case *syntax.SglQuoted:
			put(kindQuote, n.Left, n.Right)
		case *syntax.DblQuoted:
			put(kindQuote, n.Left, n.Right)
		case *syntax.ParamExp:
			if n.Dollar.IsValid() {
				put(kindVariable, n.Dollar)
			}
		case *syntax.CmdSubst:
			put(kindVariable, n.Left, n.Right)
		case *syntax.Comment:
			put(kindComment, n.Hash)
		}
		return true
	})
	return at
}

// What can be parsed is marked as the parser reads it, and no more commands are found than there are.
func TestHighlightAsParsed(t *testing.T) {
	var programs []string
	for _, c := range language {
		programs = append(programs, c.script)
	}
	for _, glob := range []string{"../*/*.sh", "../*/*/*.sh", "../guest/ports/*/t/*.sh"} {
		names, _ := filepath.Glob(glob) // the only error is a bad pattern
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			programs = append(programs, string(data))
		}
	}
	for _, program := range programs {
		want := parsed(t, program)
		text := []rune(program)
		marks := kindsOf(text, func(string) bool { return true })
		offset := uint(0)
		for i, c := range text {
			k, ok := want[offset]
			begins := marks[i] == kindCommand && (i == 0 || marks[i-1] != kindCommand)
			if want != nil && (ok && k != marks[i] || begins && k != kindCommand) {
				t.Errorf("%q: the %q after %q is %c, want %c", program[:min(len(program), 40)], c, string(text[max(0, i-30):i]), letters[marks[i]], letters[k])
			}
			offset += uint(utf8.RuneLen(c))
		}
	}
}

"""Templates of `--format`: Go's language, docker's functions, and never a traceback."""

from __future__ import annotations

import contextlib
import json
import string
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycontain.cli.template import Fields, Template, TemplateError

if TYPE_CHECKING:
    from pathlib import Path

DATA = Fields(
    ID="0123456789ab",
    Names=["web", "front"],
    Labels={"tier": "front", "a b": "c"},
    Size=1234,
    Ratio=1.5,
    Ready=True,
    Nothing=None,
    Empty="",
    Config=Fields({"Cmd": ["sh", "-c"]}, zero={"Entrypoint": []}),
    Label=lambda name: {"tier": "front"}.get(name, ""),
)

# what docker 28's client prints for these, of the same values
RENDERED = {
    "": "",
    "plain": "plain",
    "{{.ID}} {{ .Size }}": "0123456789ab 1234",
    "{{.Names}}": "[web front]",
    "{{.Labels}}": "map[a b:c tier:front]",
    "{{.Config}}": "{[sh -c]}",
    "{{.Config.Entrypoint}}": "[]",
    "{{.Nothing}} {{.Labels.missing}}": "<no value> <no value>",
    "{{json .Names}} {{json .Labels}} {{json .Nothing}}": '["web","front"] {"a b":"c","tier":"front"} null',
    '{{json "<none>"}}': '"<none>"',
    "{{range .Names}}<{{.}}>{{end}}": "<web><front>",
    "{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$i}}={{$n}}{{end}}": "0=web, 1=front",
    "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}": "a b=c;tier=front;",
    "{{range .Empty}}x{{else}}none{{end}}": None,
    "{{range .Nothing}}x{{else}}none{{end}}": "none",
    "{{range 3}}{{.}}{{end}}": "012",
    "{{range .Names}}{{if eq . `front`}}{{break}}{{end}}{{.}}{{end}}": "web",
    "{{range .Names}}{{if eq . `web`}}{{continue}}{{end}}{{.}}{{end}}": "front",
    "{{if .Empty}}a{{else if .Size}}b{{else}}c{{end}}": "b",
    "{{if and .Ready (gt .Size 1000) (ne .ID ``)}}yes{{end}}": "yes",
    "{{if or .Empty .Nothing}}a{{else}}b{{end}}": "b",
    "{{not .Ready}} {{not .Empty}}": "false true",
    "{{with .Config}}{{.Cmd}} {{$.ID}}{{end}}": "[sh -c] 0123456789ab",
    "{{with $x := 5}}{{$x}}{{end}}": "5",
    "{{$x := 1}}{{if .Ready}}{{$x = 2}}{{end}}{{$x}}": "2",
    '{{index .Labels "a b"}} {{index .Names 1}} {{index .Config.Cmd 0}}': "c front sh",
    '{{.Label "tier"}}': "front",
    '{{len .Names}} {{len .ID}} {{len "ä"}}': "2 12 2",
    '{{join .Names ", "}} {{split "a,b" ","}}': "web, front [a b]",
    '{{upper "ab"}} {{lower "AB"}} {{title "ab cd"}}': "AB ab Ab Cd",
    "{{truncate .ID 3}}|{{pad .ID 1 2}}|{{pad .Empty 1 2}}": "012| 0123456789ab  |",
    "{{slice .ID 1 3}} {{slice .Names 1}}": "12 [front]",
    '{{.ID | upper | printf "%s-%s" "x"}}': "x-0123456789AB",
    '{{printf "%5d|%-6s|%05.1f|%q|%v|%t|%x|%%" 7 "ab" 1.25 "q" .Names true 255}}': (
        '    7|ab    |001.2|"q"|[web front]|true|ff|%'
    ),
    '{{printf "%s-%d" 1 "a"}} {{printf "%d"}} {{printf "x" 1}}': (
        "%!s(int=1)-%!d(string=a) %!d(MISSING) x%!(EXTRA int=1)"
    ),
    "{{println .ID 1}}|": "0123456789ab 1\n|",
    "{{print 1 2 `a` `b`}}": "1 2ab",
    "{{eq .Size 1 1234}} {{lt 1 2}} {{le 2 2}} {{gt 1.5 2.5}} {{ge `b` `a`}} {{ne 1 1}}": (
        "true true true false true false"
    ),
    " a  {{- .Size -}}  b ": " a1234b ",
    "a {{- /* said to nobody */ -}} b": "ab",
    "{{`raw {{ }}`}}{{\"a\\tb\"}}{{'a'}}{{0x10}}{{1_000}}{{true}}": "raw {{ }}a\tb97161000true",
    "{{(index .Names 0) | len}} {{(len .Names)}}": "3 2",
    "{{html `<a>`}} {{urlquery `a b`}}": "&lt;a&gt; a+b",
}

REFUSED = {
    "{{.ID": "template: :1: unclosed action",
    "{{": "template: :1: unclosed action",
    "{{}}": "template: :1: missing value for command",
    "{{nope .ID}}": 'template: :1: function "nope" not defined',
    "\n{{$x}}": 'template: :2: undefined variable "$x"',
    "{{if .ID}}": "template: :1: unexpected EOF",
    "{{end}}": "template: :1: unexpected {{end}}",
    "{{else}}": "template: :1: unexpected {{else}}",
    "{{break}}": "template: :1: {{break}} outside {{range}}",
    "{{.ID | 5}}": "template: :1: non executable command in pipeline stage 2",
    "{{(.ID}}": "template: :1: unclosed left paren",
    '{{"abc}}': "template: :1: unterminated quoted string",
    "{{/* }}": "template: :1: unclosed comment",
    "{{1a}}": 'template: :1: bad number syntax: "1a"',
    "{{.ID ? }}": "unrecognized character in action: U+003F '?'",
    "{{define `x`}}{{end}}": "unexpected {{define}}",
    "{{99999999999999999999}}": "integer overflow: ",
    '{{"\\q"}}': "template: :1: invalid syntax",
    "{{'ab'}}": "malformed character constant",
    "{{" + "(" * 1000 + "}}": "nested too deeply",
    "{{if 1}}" * 1000: "nested too deeply",
}

FAILING = {
    "{{.Nope}}": 'map has no entry for key "Nope"',
    "{{.Config.Nope}}": 'map has no entry for key "Nope"',
    "{{.ID.Nope}}": "can't evaluate field Nope in type string",
    "{{.Nothing.Nope}}": "nil pointer evaluating interface {}.Nope",
    "{{.ID 1}}": "ID has arguments but cannot be invoked as function",
    "{{index .Names 5}}": "index out of range: 5",
    "{{index .Nothing 5}}": "index of untyped nil",
    "{{len .Size}}": "len of type int",
    "{{eq .ID 1}}": "incompatible types for comparison",
    "{{eq .Names .Names}}": "non-comparable types",
    "{{lt true false}}": "invalid type for comparison",
    "{{slice .ID 5 2}}": "invalid slice index: 5 > 2",
    "{{join .ID `,`}}": "expected []string; got string",
    "{{upper 1}}": "expected string; got int",
    "{{upper}}": "wrong number or type of arguments for upper",
    "{{truncate .ID `x`}}": "expected int; got string",
    "{{pad .ID 1 99999999}}": "cannot pad",
    '{{printf "%99999999d" 1}}': "too large",
    "{{range 99999999999}}x{{end}}": "can't iterate",
    "{{1 2}}": "can't give argument to non-function 1",
}


@pytest.mark.parametrize(("template", "expected"), [(t, e) for t, e in RENDERED.items() if e is not None])
def test_template_renders_as_docker_renders_it(template: str, expected: str) -> None:
    assert Template(template).render(DATA) == expected


@pytest.mark.parametrize(("template", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_no_template_is_refused_in_gos_words(template: str, message: str) -> None:
    with pytest.raises(TemplateError) as refused:
        Template(template)
    assert message in str(refused.value)
    assert str(refused.value).startswith("template parsing error: template: :")
    assert not refused.value.parsed


@pytest.mark.parametrize(("template", "message"), FAILING.items())
def test_what_the_values_do_not_have_is_told(template: str, message: str) -> None:
    parsed = Template(template)
    with pytest.raises(TemplateError) as failed:
        parsed.render(DATA)
    assert message in str(failed.value)
    assert "\n" not in str(failed.value)
    assert failed.value.parsed


def test_field_of_a_named_type_is_told_with_the_type() -> None:
    with pytest.raises(TemplateError, match=r"can't evaluate field Foo in type \*formatter.imageContext"):
        Template("{{.Foo}}").render(Fields({"ID": "x"}, name="*formatter.imageContext"))


# of no values, so that docker's own client can be asked
ASKED = [
    template
    for template in RENDERED
    if template and "." not in template.replace("1.25", "").replace("1.5", "")
]
ASKED += [
    *("{{split `a,b` `,`}}", '{{pad "x" 1 2}}|{{truncate "abcdef" 3}}', "{{range 3}}{{.}}{{end}}", "{{-3}}"),
    *("{{1.5}} {{1e3}} {{1e30}} {{0.00001}}", "{{true | not}}", '{{json "<&>"}}', "{{/*c*/}}z", "{{3 -}} x"),
    '{{printf "%x %X %c %U %q" "hi" 255 65 65 65}}',
    '{{printf "%v %T %g %e %6.2f" 1 2 1e21 1.0 2.0}}',
    '{{printf "%5t|%08.3f|%+.2e" true 3.14159 12345.678}}',
    '{{printf "%05d|%+d|% d|%-5d|" 3 3 3 3}}',
    '{{printf "%!"}} {{printf "%"}}',
    "{{and 1 0 2}} {{or 0 `` 3}} {{not 0}}",
    "{{with 0}}a{{else with 1}}b{{end}}",
    '{{join (split "a b" " ") "-"}}',
    "{{if}}",
    *(
        "{{",
        "{{$x}}",
        "{{if 1}}",
        "{{end}}",
        "{{else}}",
        "{{break}}",
        "{{(1}}",
        "{{nope 1}}",
        '{{"abc}}',
        "{{/* }}",
    ),
    *("{{1a}}", "{{99999999999999999999}}", '{{"\\q"}}', "{{.ID | 5}}", "{{.Foo}}"),
]


@pytest.mark.root
def test_docker_renders_the_same(docker: list[str], tmp_path: Path) -> None:
    archive = tmp_path / "layer.tar"
    with tarfile.open(archive, "w") as tar:
        tar.addfile(tarfile.TarInfo("file"))
    subprocess.run([*docker, "import", archive, "template:1"], check=True, capture_output=True)
    row = Fields({"ID": "x"}, name="*formatter.imageContext")
    differences = []
    for asked in ASKED:
        # the client takes these two characters for one, before it parses
        template = asked.replace("\\t", "\t")
        command = [*docker, "images", "--format", template, "template:1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            ours = Template(template).render(row) + "\n"
        except TemplateError as error:
            ours = f"{error}\n"
        theirs = done.stderr or done.stdout
        if ours != theirs:
            differences.append((template, ours, theirs))
    assert differences == []


_PIECES = st.sampled_from(
    "{{ }} ( ) | := = , . $ $x .ID .Names .Labels .Nope \"a\" `b` 'c' 0 -1 1.5 true nil /* */ %d \\".split()
    + "if else end range with break continue define template block and or not eq lt len index slice".split()
    + 'print printf println html json split join title lower pad truncate "%s%5d%*d%x%q%v%T"'.split()
    + ["{{- ", " -}}", " ", "\n"]
)


def renders_or_is_refused(template: str) -> None:
    with contextlib.suppress(TemplateError):
        assert isinstance(Template(template).render(DATA), str)


@given(st.lists(_PIECES, max_size=25).map(" ".join) | st.lists(_PIECES, max_size=25).map("".join))
def test_any_words_of_the_language_render_or_are_refused(template: str) -> None:
    renders_or_is_refused(template)


@given(st.lists(_PIECES, max_size=12).map(" ".join))
def test_any_action_renders_or_is_refused(action: str) -> None:
    renders_or_is_refused("{{" + action + "}}")


@given(st.text(string.printable + "äß€\U0001f600\0", max_size=60))
def test_any_text_renders_or_is_refused(template: str) -> None:
    renders_or_is_refused(template)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_VALUES, st.sampled_from(["v", "s", "d", "q", "x", "t", "f", "g", "c", "U", "T"]))
def test_any_value_prints(value: object, verb: str) -> None:
    template = Template(f'{{{{.}}}}{{{{printf "%{verb}|%10{verb}|%-5.2{verb}" . . .}}}}{{{{json .}}}}')
    assert isinstance(template.render(value), str)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.dictionaries(st.text(), i)
    )
)
def test_json_reads_back(value: object) -> None:
    assert json.loads(Template("{{json .}}").render(value)) == value

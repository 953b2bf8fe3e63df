"""Small templates for peer_templates.py, one for each corner of the language: (name, source, variables)."""

SNIPPETS = []


def add(name, *sources, **variables):
    for source in sources:
        SNIPPETS.append((name, source, variables))


def expressions(name, *sources, **variables):
    add(name, *("{{ " + source + " }}" for source in sources), **variables)


expressions("int", "7 // 2", "-7 // 2", "7 % -3", "-7 % 3", "2 ** 10", "-2 ** 2", "2 ** -1", "1 / 2",
            "4 / 2", "1_000", "0x1F", "0o17", "0b11", "True + True", "5 // 0", "1 + none")
expressions("float", "1.0", "1e16", "1e15", "123456789.125", "1e-5", "0.0001", "1.5 // 1", "-1.5 % 1",
            "0.1 + 0.2", "1e300 * 1e10", "-0.0", "7.0 // 2", "5.5 % -2", "2 ** 0.5", "1.e3", "3 * 1.5")
expressions("compare", "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0", "'a' < 'b'", "[1, 2] < [1, 3]", "1 < 'a'",
            "none == false", "not 1 == 2", "'a' in 'cat'", "1 in [1.0]", "1 not in {1: 2}",
            "'x' in none", "1 in 'abc'", "(1, 2) == [1, 2]", "true == 1", "nothing == nothing",
            "nothing < 1", "nothing in [nothing]", "[1] in {}")
expressions("literals", "[1, 'a', none, true, 2.5]", "(1,)", "()", "1, 2", "{'a': 1, 2: [3]}",
            "{'a': 'it\\'s'}", "['\"', \"'\"]", "'a' 'b' \"c\"", "'\\n\\t\\x41\\u00e9\\\\ \\q'", "['\\n', '\\x7f', '\\u200b', 'é']",
            "{1: 'a', True: 'b', 1.0: 'c'}", "{[1]: 2}", "{'a': 1}.a", "{1: 2}[1]", "(1, 2)[-1]", "1.5.foo")
expressions("strings", "'Ab' ~ 1 ~ none ~ 1.0 ~ [1]", "'ab' * 3", "3 * 'ab'", "'a' + 1", "'héllo'[1]",
            "'héllo'[-4:]", "'héllo'[::-1]", "'hello'[1:4:2]", "'abc'[5]", "'abc'[::0]", "'a-b-c'.split('-')",
            "' a  b '.split()", "' a  b c '.split(none, 1)", "' a  b c '.rsplit(none, 1)",
            "'a-b-c'.split('-', 1)", "'a-b-c'.rsplit('-', 1)", "'abc'.split('')", "'\\ta '.strip()",
            "'xxaxx'.strip('x')", "'xyaxy'.lstrip('xy')", "'xa'.rstrip('a')", "'abc'.startswith('ab')",
            "'abc'.startswith(('x', 'a'))", "'abc'.endswith('c', 1)", "'abc'.find('c')", "'éac'.find('c')",
            "'abcabc'.rfind('b')", "'abc'.index('z')", "'aaa'.count('a')", "'abc'.count('')",
            "'aXbX'.replace('X', '-')", "'aXbX'.replace('X', '-', 1)", "'abc'.replace('', '.')",
            "'a\\nb\\r\\nc\\n'.splitlines()", "'a\\nb\\n'.splitlines(true)", "'abc'.upper()", "'hello wORLD'.title()",
            "'hELLO'.capitalize()", "'aB'.swapcase()", "'straße'.upper()", "','.join(['a', 'b'])",
            "','.join([1])", "'abc'.isalpha()", "'12'.isdigit()", "''.isdigit()", "'a1'.isalnum()", "'Ab'.isupper()",
            "'AB1'.isupper()", "' '.isspace()", "'x'.center(5, '*') ~ 'x'.center(4) ~ 'ab'.center(5, '-')", "'x'.ljust(3) ~ '|'", "'x'.rjust(3)",
            "'-5'.zfill(4)", "'a-b'.partition('-')", "'a-b-c'.rpartition('-')", "'abc'.partition('x')",
            "'abc'.removeprefix('ab')", "'abc'.removesuffix('x')", "'abc'.nothing", "'abc'.nothing.more",
            "'abc'.__class__", "'abc'.__class__.__mro__", "'abc'['upper']()", "'ab'.isascii()", "'a b'.islower()")
expressions("percent", "'%s-%d' % ('a', 5)", "'%5.2f|%-5s|%05d' % (3.14159, 'ab', 42)", "'%x %X %o' % (255, 255, 8)",
            "'%r' % 'a'", "'%s' % [1, 2]", "'%(a)s %(b)d' % {'a': 1, 'b': 2}", "'%d%%' % 5", "'%s %s' % 'a'",
            "'%s' % ('a', 'b')", "'%c%c' % (65, 'B')", "'%+d % d' % (1, 2)", "'%e %g' % (12345.678, 0.0001)",
            "'%d' % 'a'", "'%#x' % 255", "'%*d' % (5, 42)", "'%.3s' % 'abcdef'", "'%d' % 3.99", "'abc' % {}", "'abc' % 1",
            "'%s'|format('x')", "'%(a)s'|format(a=1)")
expressions("format", "'{} {}'.format(1, 'a')", "'{1} {0}'.format(1, 2)", "'{a} {b.c} {d[0]} {e[k]}'.format(a=1, b={'c': 2}, d=[3], e={'k': 4})",
            "'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')", "'{:05d} {:+} {:,} {:_}'.format(42, 5, 1234567, 1234567)",
            "'{:.2f} {:.3e} {:g} {:%}'.format(3.14159, 12345.678, 0.00001, 0.5)", "'{:x} {:#x} {:b} {:o}'.format(255, 255, 5, 8)",
            "'{!r} {!s}'.format('a', 'a')", "'{{}} {}'.format(1)", "'{:{}}|'.format('a', 5)", "'{}'.format()", "'{'.format()",
            "'}'.format()", "'{0.__class__}'.format(1)", "'{:d}'.format('a')", "'{:5}'.format(true)", "'{:.2}'.format('abc')",
            "'{:10.3f}|'.format(2.5)", "'{:>5}'.format([1])", "'{a}'.format_map({'a': 1})", "'{:.3}'.format(2.0)")
expressions("lists", "[3, 1, 2][1:]", "[1, 2, 3][::-1]", "[1] + [2]", "[1] + (2,)", "[1, 2] * 2", "[1, 2].index(2)",
            "[1, 1].count(1)", "[1].append(2)", "[1].copy()", "[1, 2].pop()", "range(5)", "range(1, 10, 3)|list",
            "range(3)[1]", "range(10)[2:4]", "range(200000)", "range(5, 0, -2)|list", "(1, 2, 3).index(3)", "[1][true]", "[[1, [2]], {'a': (3,)}]",
            "[1, 2]['a']", "[1, 2][7] is defined")
expressions("dicts", "d.items()", "d.keys()|list", "d.values()|list", "d.get('a')", "d.get('z')", "d.get('z', 5)", "d['a']",
            "d.a", "d.z", "d.z.y", "d.update({})", "d.pop('a')", "d|length", "'a' in d", "d|list",
            "d.copy()", "dict(a=1, b=2)", "dict(d, c=3)", "dict([('x', 1)])", "d|items|list", "d == {'b': 2, 'a': 1}",
            "{'items': 5}['items']", "{'keys': 5}.keys|string|length > 5", "d.__len__", "d.items()[0]", "d.fromkeys([1, 2], 0)",
            d={"a": 1, "b": 2})
expressions("conditions", "1 if true else 2", "1 if false", "(1 if false) is defined", "1 if 0 else 2 if 0 else 3", "none or 'a'", "'' and 1",
            "[] or {} or 0", "not ''", "not not 1", "1 and 2 or 3", "nothing or 5", "(nothing)|default('d')")
expressions("undefined", "nothing", "nothing.more", "nothing[0]", "nothing + 1", "nothing ~ 'a'", "nothing|length", "nothing|list",
            "nothing|upper", "nothing|join", "nothing()", "nothing is none", "[nothing]", "nothing|tojson", "nothing|int", "-nothing",
            "nothing|first", "nothing|last", "nothing|default(1)", "''|default(1, true)", "nothing|d", "nothing|reverse|list", "nothing is sequence",
            "nothing is iterable", "nothing is callable", "nothing is mapping", "nothing is string", "nothing|items|list", "nothing|map('upper')|list", "nothing|trim",
            "nothing|sort", "nothing|dictsort", "nothing|float", "nothing * 2", "'a' in nothing", "nothing in 'a'", "nothing % 2", "'%s' % nothing", "nothing|string", "nothing|abs")
expressions("tests", *(f"{value} is {test}" for value in ("1", "0", "1.5", "'a'", "'A'", "none", "true", "[]", "{}", "(1,)", "range(2)", "dict", "nothing")
                       for test in ("defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
                                    "iterable", "sequence", "callable", "lower", "upper", "not none", "escaped")))
expressions("tests with arguments", "5 is odd", "4 is even", "6 is divisibleby 3", "6 is divisibleby(4)", "1 is eq 1", "1 is equalto(2)", "1 is ne 2",
            "1 is lt 2", "2 is ge 2", "3 is in [1, 3]", "none is sameas none", "1 is sameas true", "'a' is in 'abc'", "'x' is filter", "'upper' is filter",
            "'odd' is test", "1 is nonsense", "'a' is even", "1 is defined is defined", "not 1 is odd", "1 is not odd and true", "5 is gt(3)", "5 is greaterthan 7")
expressions("filters", "-3|abs", "'a b'|title", "'foo-bar (baz)'|title", "\"it's\"|title", "'hELLO wORLD'|capitalize", "['b', 'A', 'c']|sort", "['b', 'A', 'c']|sort(case_sensitive=true)",
            "[3, 1, 2]|sort(reverse=true)", "[1, 'a']|sort", "[1, 2, 3]|first", "[]|first", "[1, 2]|last", "'abc'|first", "'abc'|last", "'abc'|list", "'abc'|length",
            "5|length", "[1, 2]|join(', ')", "[1, none, 'a']|join", "'a'|join('-')", "'42'|int", "'4.9'|int", "'x'|int", "'x'|int(7)", "'0x1A'|int(0, 16)", "'1f'|int(base=16)", "3.9|int", "-3.9|int", "none|int", "true|int", "' 12 '|int", "'1_000'|int",
            "'1e3'|int", "'3.5'|float", "'x'|float", "'x'|float(1)", "5|float", "'inf'|float", "'nan'|float", "'1e5'|float", "'+5'|int", "2.5|round", "3.5|round", "2.567|round(2)", "2.1|round(0, 'ceil')", "2.9|round(method='floor')", "5|round", "1234|round(-2)", "2.675|round(2)",
            "'abc'|reverse", "[1, 2]|reverse|list", "' a '|trim", "'xax'|trim('x')", "'a,b'|replace(',', ';')", "5|replace('5', 'x')", "'a' |upper|lower", "1|string + 'a'", "'a b c'|wordcount", "'a<b>&\"\\''|e", "('<'|e) + '<'", "('<'|safe) + '<'", "('<'|safe) ~ '<'", "'<'|safe|length", "'<a>'|escape|upper", "['<'|safe]|join('<')", "'<'|safe|string|e", "'<'|forceescape",
            "'a b/c?d'|urlencode", "{'a b': 'c&d'}|urlencode", "[('a', 1)]|urlencode", "'é'|urlencode", "'abc def ghi'|truncate(7)", "'abcdefghijkl'|truncate(5, true)", "'abcdefghijklmnop'|truncate(8, false, '', 0)", "'foo bar baz qux'|truncate(9, leeway=0)", "'abc'|center(9)", "'abc'|batch(2)|list", "[1, 2, 3]|batch(2, 0)|list", "[1, 2, 3, 4, 5]|slice(3)|list", "[1, 2, 3, 4]|slice(3, 'x')|list",
            "[1, 2, 3]|sum", "[[1], [2]]|sum(start=[])", "[1, 2, 2, 1]|unique|list", "['a', 'A', 'b']|unique|list", "['a', 'A']|unique(true)|list", "[3, 1, 2]|min", "[3, 1, 2]|max", "['b', 'A']|min", "['b', 'A']|max", "[]|min", "{'b': 1, 'A': 2}|dictsort", "{'b': 1, 'A': 2}|dictsort(true)", "{'b': 1, 'a': 2}|dictsort(by='value')", "{'b': 1, 'a': 2}|dictsort(reverse=true)", "{'a': 1}|attr('a')", "'ab'|map('upper')|list", "[1]|nonsense", "1 if true else 2|nonsense", "'1'|int + 1", "-1|abs", "2 + 3|string", "[1, 2]|map('string')|join", "[0, 1]|select|list", "[0, 1]|reject|list", "[1, 2, 3]|select('odd')|list", "[1, 2, 3]|reject('gt', 1)|list", "[1, 2]|select('nonsense')|list", "[[1, 2], [3, 4]]|map('first')|list", "[[1, 2], [3, 4]]|map(attribute=1)|list", "(1, 2)|list", "[1, 2]|map('nonsense')|list", "[1]|map|list", "[1, 2] | length + 1")
expressions("attribute filters", "u|map(attribute='n')|list", "u|map(attribute='z', default='?')|list", "u|selectattr('n', 'equalto', 'b')|list", "u|selectattr('k.v')|list", "u|rejectattr('k', 'defined')|list", "u|sort(attribute='n')|map(attribute='n')|join", "u|sort(attribute='n', reverse=true)|map(attribute='n')|join", "u|groupby('g')", "u|groupby('g')|map(attribute='grouper')|list", "u|groupby('k.v', default=0)|map('first')|list", "u|max(attribute='n')", "u|sum(attribute='g')", "u|join(',', attribute='n')", "u|unique(attribute='g')|list|length", "u|sort(attribute='g,n')|map(attribute='n')|join", "u|selectattr('n', 'in', ['a'])|map(attribute='n')|first",
            u=[{"n": "c", "g": 2, "k": {"v": 1}}, {"n": "a", "g": 1}, {"n": "b", "g": 2, "k": {"v": 0}}])
expressions("json", "v|tojson", "v|tojson(indent=2)", "v|tojson(indent=none)", "v|tojson(separators=(',', ':'))", "v|tojson(ensure_ascii=true)", "v|tojson(sort_keys=true)", "v|tojson(indent='--')", "v", "[]|tojson(indent=2)", "{}|tojson(indent=2)", "{1: 2, none: 3, true: 4, 1.5: 5}|tojson", "{(1,): 2}|tojson", "(1, 2)|tojson", "range(3)|tojson", "'</a>&\\''|tojson", "1e16|tojson", "'inf'|float|tojson", "v|tojson(indent=0)", "'\\x7f\\x01'|tojson", "'\\x7f'|tojson(ensure_ascii=true)", "v|tojson|length",
            v={"ключ": ["é\u2028😀", "a\"b\\c\n\t\r\b\f\u0001\u007f", None, True, 1, 1.0, -0.5, 1e100], "a": {"b": [], "c": {}}})
expressions("indent", "t|indent", "t|indent(2, true)", "t|indent(2, blank=true)", "t|indent('> ')", "''|indent", "'a\\n'|indent", "5|indent", "t|indent(first=true, width=1)", t="a\nb\n\n c\n")
expressions("globals", "namespace(a=1).a", "namespace({'a': 2}).a", "namespace().a is defined", "joiner()() ~ 1", "cycler('a', 'b').next()", "strftime_now('%d %b %Y %H:%M')", "strftime_now('%f|%z|%%|%Y')", "dict(a=1)|items|list", "raise_exception('my message')", "lipsum is defined and false", "range(2, 1)|list", "range()", "range(1, 2, 0)", "range('a')")
add("for", "{% for x in [1, 2, 3] %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for x in [] %}a{% else %}b{% endfor %}",
    "{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.length }}{{ loop.first }}{{ x }} {% endfor %}",
    "{% for x in [1, 2, 3] if x is odd %}{{ x }}{{ loop.last }}{{ loop.length }}{% else %}none{% endfor %}", "{% for x in [1, 2, 3] if x > 5 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in [1, 2, 3] %}{{ loop.previtem }}-{{ loop.nextitem }} {% endfor %}", "{% for x in [1, 2, 3] %}{{ loop.nextitem is defined }}{% endfor %}", "{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "{% for k, v in [[1, 2], [3]] %}{{ k }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in [1, 2, 3, 4] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in [1] %}{% break %}{% else %}e{% endfor %}", "{% for x in [1, 2] %}{% continue %}{% else %}e{% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{{ loop.cycle('a', 'b') }} {% endfor %}", "{% for x in [1, [2, [3]]] recursive %}{% if x is number %}{{ x }}@{{ loop.depth }}{% else %}({{ loop(x) }}){% endif %}{% endfor %}", "{% for x in [1] %}{{ loop(x) }}{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in nothing %}a{% else %}b{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% for i in [1, 2] %}{{ x }}{% set x = i %}{% endfor %}", "{% for x in [1, 2] %}{% for y in [1, 2] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% set g = [1, 2, 3]|select %}{% for x in g %}{{ x }}{{ loop.length }}{% endfor %}{% for x in g %}{{ x }}{% endfor %}", "{% for loop in [1] %}{% endfor %}", "{% for x in [1] %}{% set loop = 1 %}{% endfor %}", "{% break %}",
    "{% set ns = namespace(on=true) %}{% for x in [1, 2, 3] if ns.on %}{{ x }}{% set ns.on = false %}{% endfor %}", "{% for x in [1, 2, 3] if loop is defined %}{{ x }}{% endfor %}", "{% for x in [3, 4] %}{{ loop['index'] }}{{ loop.nothing is defined }}{% endfor %}")
add("set", "{% set a = 1 %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a %}x{{ 1 }}{% endset %}{{ a }}|{{ a is string }}", "{% set a | upper | replace('X', 'y') %}x{{ 1 }}{% endset %}{{ a }}", "{% set ns = namespace(x=1) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set d = {} %}{% set d.x = 1 %}", "{% set nothing.x = 1 %}", "{% set ns = namespace() %}{% set ns.a %}b{% endset %}{{ ns.a }}", "{% if true %}{% set a = 1 %}{% endif %}{{ a }}", "{% if false %}{% set a = 1 %}{% endif %}{{ a is defined }}", "{% set true = 1 %}", "{% set a = b = 1 %}", "{% set ns = namespace() %}{% set ns.a, x = 1, 2 %}{{ ns.a }}{{ x }}", "{% set (a, b) = [1, 2] %}{{ b }}", "{% set a, b = [1] %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set q = 1 %}{% endwith %}{{ q is defined }}")
add("macro", "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}|{{ m(1, 3) }}|{{ m(b=5, a=4) }}|{{ m() }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}", "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}", "{% macro m(x) %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m(1) }}", "{{ m() }}{% macro m() %}{% endmacro %}", "{% macro m() %}a{% endmacro %}{{ m() is string }}{{ m.name }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% set ns = namespace(t='') %}{% macro m(v) %}{% set ns.t = ns.t ~ v %}{% endmacro %}{{ m(1) }}{{ m(2) }}{{ ns.t }}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(nothing) }}{{ m(*[1]) }}{{ m(**{'a': 2}) }}", "{% if true %}{% macro m() %}z{% endmacro %}{% endif %}{{ m() }}", "{% for i in [1] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}")
add("blocks", "{% filter upper %}a{{ 'b' }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aa{% endfilter %}", "{% generation %}x{{ 1 }}{% endgeneration %}", "{% generation %}{% set a = 1 %}{% endgeneration %}{{ a is defined }}", "{% raw %}{{ x }}{% if %}{% endraw %}y", "{%- raw -%} a {%- endraw -%} b", "{% raw %}\n a\n {% endraw %}\nb", "{# c #}a{#- c -#} b", "a {#- c #}\nb", "{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}", "{% if 0 %}a{% elif 0 %}b{% elif 1 %}d{% else %}c{% endif %}", "{% if x %}", "{% endif %}", "{% nonsense %}", "{{ 1", "{{ }}", "{% if 1 %}{% endfor %}", "{% block a %}x{% endblock %}", "{% block a %}x{% endblock a %}y", "{% do 1 %}", "{% include 'x' %}", "{{ 1 }", "{# x", "{% raw %}", "{{ 'a }}", "{{ (1 }}", "{{ 1) }}", "{{ $ }}", "{% print 5 %}", "{% if 1: %}a{% endif %}", "{% if false %}{{ 1|nonsense }}{% endif %}", "{% if true %}{{ 1|nonsense }}{% endif %}", "{% if false %}{% for x in [] %}{{ 1|nonsense }}{% endfor %}{% endif %}", "{{ 1|nonsense if false }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}} }}", "{%- if true -%} x {%- endif %} y", "{{ [1, 2,] }}{{ (1, 2,) }}{{ {'a': 1,} }}", "{{ foo(1,) }}", "{{ dict(a=1, **{'b': 2}) }}", "{{ dict(**{'b': 2}, a=1) }}")
add("white space", "a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  {%+ if true %}\n  b\n  {%- endif +%}\nc\n\n", " {% if true %} x {% endif %} \n", "a {% if true %}\nb{% endif %}", "{{ 1 }}  {% if true %}\nb{% endif %}", "  {# c #}\n x", "  {# c +#}\n x", "\n\n  {{- 1 -}}  \n\n2", "  {{ 1 }}\n  {{ 2 }}\n", "a\r\nb\rc\n{% if true %}\r\nd{% endif %}\r\n", "x\n\n", "x\n", "\n", "", "{% if true %}\n\n  y{% endif %}", "\t{% set a = 1 %}\t\n\u00a0{%- set b = 2 %}", "{%- set a = 1 -%}\n\n x", "a{% if true -%}\n b\n{%- endif %}\n c", "a\n {%- if true %} b {% endif -%} \n c", "{{+ 1 }}", "a {{- 1 }} b", "{% set x = '\n' %}{{ x }}|", "{%set a=1%}{{a}}", "{% if true %}a{%- else %}b{% endif %}")

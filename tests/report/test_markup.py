from glipv2.report.markup import Markup, element, escape, join


def test_text_and_attributes_are_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = element("b", "a < b & c")
    outer = element("p", inner, '"<script>"', title='x" onclick="y', data_value="<")
    assert outer == (
        '<p title="x&quot; onclick=&quot;y" data-value="&lt;"><b>a &lt; b &amp; c</b>&quot;&lt;script&gt;&quot;</p>'
    )


def test_markup_in_an_attribute_is_still_escaped() -> None:
    assert element("i", title=Markup('<b>"</b>')) == '<i title="&lt;b&gt;&quot;&lt;/b&gt;"></i>'


def test_none_and_false_leave_an_attribute_out_and_true_gives_it_no_value() -> None:
    assert element("details", class_=None, hidden=False, open=True) == "<details open></details>"


def test_void_elements_are_not_closed() -> None:
    assert element("img", src="data:,") == '<img src="data:,">'


def test_joined_parts_are_markup() -> None:
    joined = join(["<", element("b", 1)], ", ")
    assert isinstance(joined, Markup)
    assert escape(joined) == "&lt;, <b>1</b>"

"""CSV import: what is accepted, what is refused with which message, and how responses are aggregated."""

import csv
import io
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synesthesia import schemas
from synesthesia.evaluation import csv_import
from synesthesia.evaluation.csv_import import ResponseError

OPTIONS = [["cat", "dog", "owl"], ["car", "dog", "rain"], [f"thing {i}" for i in range(10)]]
QUESTIONS = schemas.from_rows(
    [
        {"question_id": f"q{i}", "clip_id": f"c{i}", "split": "analysis", "options": options, "target": 0}
        for i, options in enumerate(OPTIONS)
    ],
    schemas.QUESTION,
    "questions",
)
EXPORT = "question_id,participant,condition,choice,seconds,replays,focus_lost,load_failures,order,inattentive\n"


@pytest.fixture
def read(tmp_path):
    def read_content(content, condition="audio"):
        path = tmp_path / "answers.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return csv_import.read_responses(path, QUESTIONS, condition)

    return read_content


def aggregate(responses, seed=0, aggregation="random", inattentive="drop"):
    return csv_import.aggregate_responses(
        responses, QUESTIONS, "x", seed=seed, aggregation=aggregation, inattentive=inattentive
    )


def test_an_export_of_the_human_study_is_read_one_condition_at_a_time(read):
    content = EXPORT + "q0,ab12,audio,2,3.25,1,0,0,7,false\nq1,ab12,silent_video,,1.5,0,2,1,8,false\n"
    audio, video = read(content).to_pylist(), read(content, "silent_video").to_pylist()
    assert audio == [
        {"question_id": "q0", "participant": "ab12", "condition": "audio", "choice": 2, "letter_logits": None,
         "text": None, "seconds": 3.25, "replays": 1, "focus_lost": 0, "load_failures": 0, "order": 7,
         "inattentive": False}
    ]  # fmt: skip
    assert [(row["question_id"], row["choice"], row["focus_lost"]) for row in video] == [("q1", None, 2)]
    assert read(content, "sounded_video").num_rows == 0


def test_a_file_with_nothing_but_a_header_has_no_responses(read):
    responses = read(EXPORT)
    assert (responses.num_rows, responses.schema) == (0, schemas.RESPONSE)
    assert aggregate(responses).num_rows == 0


def test_two_columns_suffice_and_letters_are_equivalent_to_indices(read):
    responses = read("\ufeffchoice,question_id\r\nC,q0\r\n\r\n1,q1\r\nj,q2\r\n")
    assert responses["choice"].to_pylist() == [2, 1, 9]
    assert set(responses["condition"].to_pylist()) == {"audio"}
    answers = aggregate(responses).to_pylist()
    assert [(a["question_id"], a["respondent"], a["choice"], a["seconds"]) for a in answers] == [
        ("q0", "x", 2, None), ("q1", "x", 1, None), ("q2", "x", 9, None),
    ]  # fmt: skip


def test_text_is_parsed_as_a_letter_or_an_option_and_never_guessed(read):
    content = 'question_id,text\nq0,"Answer: B. dog"\nq1,"B. cat"\nq2,"I hear thing 1, or thing 2"\n'
    responses = read(content)
    assert responses["choice"].to_pylist() == [1, None, None]
    assert responses["text"].to_pylist()[1] == "B. cat"


def test_logits_and_text_are_kept_with_a_choice(read):
    content = 'question_id,choice,text,letter_logits,seconds\nq0,1,A,"[0.5, -1, 2e1]",0\nq1,,,,\n'
    answers = aggregate(read(content)).to_pylist()
    assert answers[0]["letter_logits"] == [0.5, -1.0, 20.0]
    assert (answers[0]["choice"], answers[0]["text"], answers[0]["seconds"]) == (1, "A", 0.0)
    assert (answers[1]["choice"], answers[1]["text"], answers[1]["letter_logits"]) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question_id,choise\nq0,1\n", "unknown column 'choise', did you mean choice"),
        ("question_id\nq0\n", "no column choice"),
        ("choice\n1\n", "no column question_id"),
        ("", "no column question_id"),
        ("question_id,choice,choice\nq0,1,1\n", "column choice occurs twice"),
        ("question_id;choice\nq0;1\n", "must be separated by commas"),
        ("question_id,choice\nq0,1,2\n", "line 2 has 3 cells, the header 2"),
        ('question_id,choice\n"q0,1\n', "line 2: unexpected end of data"),
        ("question_id,choice\nq0,3\n", "line 2: choice '3' is neither an index 0 to 2 nor a letter A to C"),
        ("question_id,choice\nq0,D\n", "choice 'D' is neither"),
        ("question_id,choice\nq0,-1\n", "choice '-1' is neither"),
        ("question_id,choice\nq0,1.0\n", "choice '1.0' is neither"),
        ("question_id,choice\nq0,²\n", "choice '²' is neither"),
        ("question_id,choice,seconds\nq0,1,-2\n", "seconds '-2' is not a number of 0 or more"),
        ("question_id,choice,seconds\nq0,1,nan\n", "seconds 'nan' is not a number"),
        ("question_id,choice,seconds\nq0,1,soon\n", "seconds 'soon' is not a number"),
        ("question_id,choice,replays\nq0,1,1.5\n", "replays '1.5' is not a count"),
        ("question_id,choice,inattentive\nq0,1,maybe\n", "inattentive 'maybe' is neither true nor false"),
        ("question_id,choice,condition\nq0,1,smell\n", "condition 'smell' is not one of audio,"),
        ("question_id,choice,participant\nq0,1,\n", "participant is empty"),
        ('question_id,choice,letter_logits\nq0,1,"[1, 2]"\n', "must be a JSON list of 3 numbers"),
        ('question_id,choice,letter_logits\nq0,1,"[1, 2, NaN]"\n', "must be a JSON list of 3 numbers"),
        ('question_id,choice,letter_logits\nq0,1,"[1, 2, true]"\n', "must be a JSON list of 3 numbers"),
        ("question_id,choice\nq0,1\nq0,2\n", "two responses of the same participant.*q0 .audio.*column `participant`"),
        (EXPORT + "q0,p,audio,1,1,0,0,0,1,false\nq0,p,audio,1,1,0,0,0,2,false\n", "two responses.*q0 .audio, p."),
        (EXPORT + "q0,simulated-1,audio,1,1,0,0,0,1,false\nq1,p,audio,1,1,0,0,0,2,false\n", "simulated and real"),
        ("question_id,choice\nq\u00e4,1\n".encode("latin-1"), "line 2 is not UTF-8 .byte 0xe4"),
        ("question_id,choice\nq0,1\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"question_id,choice\nq0,\x001\n", "zero bytes"),
    ],
)  # fmt: skip
def test_invalid_content_is_refused_with_its_line_and_reason(read, content, message):
    with pytest.raises(ResponseError, match=f"(?s)answers.csv.*{message}"):
        read(content)


def test_unknown_questions_are_counted_and_the_first_ten_named(read):
    rows = "".join(f"nobody-{i:02d},1\n" for i in range(12))
    with pytest.raises(ResponseError) as error:
        read("question_id,choice\nq0,1\n" + rows)
    assert "12 unknown question ids in 12 rows: nobody-00, " in str(error.value)
    assert "nobody-09, …" in str(error.value)
    assert "nobody-10" not in str(error.value)


def test_all_invalid_rows_are_counted_and_ten_of_them_shown(read):
    rows = "".join(f"q0,p{i},77\n" for i in range(12))
    with pytest.raises(ResponseError, match=r"(?s)12 rows cannot be used.*line 11.*and 2 more") as error:
        read("question_id,participant,choice\n" + rows)
    assert str(error.value).count("line ") == 10


def test_an_invalid_row_of_another_condition_is_refused_too(read):
    with pytest.raises(ResponseError, match="choice '12'"):
        read(EXPORT + "q0,p,silent_video,12,1,0,0,0,1,false\n")


def test_a_missing_file_says_where_it_is_named(tmp_path):
    with pytest.raises(ResponseError, match=r"missing.*import_answers\.respondents"):
        csv_import.read_responses(tmp_path / "none.csv", QUESTIONS, "audio")


@pytest.mark.parametrize(
    "content",
    [
        "question_id,choice\n , \nq0,1\n\t,\u00a0\n,\nq1,2\n",
        "\n,,\nquestion_id,choice\nq0,1\nq1,2\n",
        "sep=,\nquestion_id,choice\nq0,1\nq1,2\n",
        "\ufeffSEP=,\r\nquestion_id,choice\r\nq0,1\r\nq1,2\r\n",
        '"sep=,"\nquestion_id,choice\nq0,1\nq1,2\n',
        '"","question_id","choice"\n"1","q0","1"\n"2","q1","2"\n',
        ",question_id,choice\n0,q0,1\n1,q1,2\n",
        "question_id,choice,,\nq0,1,,\nq1,2,,\n",
        "question_id,choice\nq0,1,,,\nq1,2, ,\n",
        "question_id,choice,,\nq0,1\nq1,2\n",
        ",question_id,choice,\n7,q0,1,\n8,q1,2,\n,,,\n",
    ],
    ids=["rows of blanks", "blank rows first", "sep", "SEP with a byte order mark", "quoted sep", "R", "pandas",
         "trailing commas everywhere", "trailing commas of rows", "trailing commas of the header", "all at once"],
)  # fmt: skip
def test_what_spreadsheets_and_r_add_is_passed_over(read, content):
    responses = read(content)
    assert responses["question_id"].to_pylist() == ["q0", "q1"]
    assert responses["choice"].to_pylist() == [1, 2]


@pytest.mark.parametrize("length", [131_073, 200_000, 3_000_000])
def test_a_reply_of_any_length_is_read_and_the_process_keeps_its_csv_limit(read, length):
    before = csv.field_size_limit()
    reply = "so, " * (length // 4)
    responses = read(f'question_id,choice,text\nq0,1,"{reply}"\nq1,,B\n')
    assert (responses["choice"].to_pylist(), responses["text"].to_pylist()) == ([1, None], [reply.strip(), "B"])
    assert csv.field_size_limit() == before


BIG = "9" * 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question_id,choice\n,1\nq0,1\n", "line 2: question_id is empty"),
        ("question_id,choice,x\n", "unknown column 'x'"),
        ("question_id,,choice\nq0,5,1\n", "unknown column '' .column 2 of the first line"),
        ("question_id,choice,\nq0,1,hello\n", "line 2 has 3 cells, the header 2 .column 3: 'hello'"),
        ("sep=;\nquestion_id;choice\nq0;1\n", "must be separated by commas"),
        ("question_id,choice,order\nq0,1,4294967296\n", "line 2: order '4294967296' is not a count"),
        ("question_id,choice,replays\nq0,1,-1\n", "line 2: replays '-1' is not a count"),
        (f"question_id,choice\nq0,{BIG}\n", "line 2: choice '9{60}…' is neither"),
        ("question_id,choice\nq0,ı\n", "line 2: choice 'ı' is neither"),
        (f"question_id,choice,seconds\nq0,1,{BIG}\n", "line 2: seconds '9{60}…' is not a number"),
        ("question_id,choice,seconds\nq0,1,1e400\n", "line 2: seconds '1e400' is not a number"),
        ("question_id,choice,seconds\nq0,1,1_0\n", "line 2: seconds '1_0' is not a number"),
        (f'question_id,choice,letter_logits\nq0,1,"[1, 2, {BIG}]"\n', "line 2: letter_logits must be a JSON list"),
        ('question_id,choice,letter_logits\nq0,1,"[1, 2, 1e39]"\n', "line 2: letter_logits must be a JSON list"),
        (f'question_id,choice,letter_logits\nq0,1,"{"[" * 100_000}"\n', "line 2: letter_logits must be a JSON list"),
        ('question_id,text\nq0,"two\nlines"\nq1,"""open\nq2,A\n', "line 4: unexpected end of data .column 2"),
        ('question_id,choice,text\nq0,1,"a" b\n', "line 2: .* .column 3: a quote"),
        (b"question_id,choice,text\nq0,1,caf\xe9\n", "line 2 is not UTF-8 .byte 0xe9 in column 3"),
        (b'question_id,text,choice\nq0,"a, b\n c",\xff\n', "line 3 is not UTF-8 .byte 0xff in column 3"),
        ("question_id,choice\n".encode("utf-16-be"), "line 1 has zero bytes, the first in column 1.*UTF-16"),
        ("\ufeffquestion_id,choice\n".encode("utf-16-be"), "line 1 is not UTF-8 .byte 0xfe.*the mark of UTF-16"),
        ("question_id,choice\n".encode("utf-32"), "line 1 is not UTF-8 .byte 0xff.*the mark of UTF-32"),
        (b"question_id,choice\nq0,1\nq1,\0\n", "line 3 has zero bytes, the first in column 2"),
        (b"PK\x03\x04\x14\0\x06\0", "is a workbook or a ZIP archive"),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence_with_its_line_and_column(read, content, message):
    with pytest.raises(ResponseError, match=f"(?s)answers.csv.*{message}") as error:
        read(content)
    assert len(str(error.value)) < 400


def test_a_long_unknown_question_id_is_cut_and_its_line_named(read):
    with pytest.raises(ResponseError, match=r"1 unknown question ids in 1 rows: x{60}… .the first in line 3"):
        read(f"question_id,choice\nq0,1\n{'x' * 100_000},1\n")


def test_a_folder_in_place_of_the_file_is_a_sentence(tmp_path):
    with pytest.raises(ResponseError, match="cannot be read: Is a directory"):
        csv_import.read_responses(tmp_path, QUESTIONS, "audio")


cells = st.one_of(st.text(max_size=8), st.sampled_from(["q0", "q1", "audio", "A", "2", "true", "[1,2,3]", '"', ","]))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.lists(st.lists(cells, max_size=4), max_size=4)), st.booleans())
def test_any_bytes_are_read_or_refused_with_a_message(read, content, with_header):
    if isinstance(content, list):
        stream = io.StringIO()
        csv.writer(stream).writerows(([["question_id", "choice"]] if with_header else []) + content)
        content = stream.getvalue().encode("utf-8", "surrogatepass")
    try:
        responses = read(content)
    except ResponseError as error:
        assert "answers.csv" in str(error)
    else:
        assert schemas.check(responses, schemas.RESPONSE, "responses").num_rows <= 4


names = st.text(string.ascii_lowercase, min_size=1, max_size=3).filter(lambda n: not n.startswith("sim"))
many_responses = st.dictionaries(
    st.tuples(st.sampled_from(["q0", "q1", "q2"]), names),
    st.tuples(st.one_of(st.none(), st.integers(0, 2)), st.floats(0, 100, width=32), st.booleans()),
    max_size=12,
)


def make_table(responses):
    rows = [
        {"question_id": q, "participant": p, "condition": "audio", "choice": c, "seconds": s, "inattentive": k}
        for (q, p), (c, s, k) in responses.items()
    ]
    return schemas.from_rows(rows, schemas.RESPONSE, "responses")


@settings(max_examples=60)
@given(many_responses, st.integers(0, 5), st.randoms(use_true_random=False))
def test_each_question_gets_one_of_its_responses_in_any_order_of_the_file(responses, seed, random):
    answers = aggregate(make_table(responses), seed).to_pylist()
    shuffled = list(responses.items())
    random.shuffle(shuffled)
    assert answers == aggregate(make_table(dict(shuffled)), seed).to_pylist()
    attentive = {key: value for key, value in responses.items() if not value[2]}
    assert [a["question_id"] for a in answers] == sorted({q for q, _ in attentive})
    for answer in answers:
        candidates = [(c, s) for (q, _), (c, s, _) in attentive.items() if q == answer["question_id"]]
        assert (answer["choice"], answer["seconds"]) in candidates
    unfiltered = aggregate(make_table(responses), seed, inattentive="keep")
    assert set(unfiltered["question_id"].to_pylist()) == {q for q, _ in responses}


def test_random_aggregation_draws_each_response_equally_often_over_seeds():
    responses = make_table({("q0", name): (choice, 1.0, False) for choice, name in enumerate(["ann", "bob", "cyd"])})
    drawn = [aggregate(responses, seed)["choice"][0].as_py() for seed in range(600)]
    assert all(150 < drawn.count(choice) < 250 for choice in range(3))  # 200 expected, standard deviation 12


def test_majority_aggregation_counts_votes_and_breaks_ties_at_random():
    responses = make_table(
        {("q0", "a"): (1, 2.0, False), ("q0", "b"): (1, 4.0, False), ("q0", "c"): (0, 9.0, False),
         ("q0", "d"): (None, 5.0, False), ("q1", "a"): (0, 1.0, False), ("q1", "b"): (2, 1.0, False),
         ("q2", "a"): (None, 1.0, False), ("q2", "b"): (None, 2.0, False)}
    )  # fmt: skip
    answers = [aggregate(responses, seed, "majority").to_pylist() for seed in range(40)]
    assert {a[0]["choice"] for a in answers} == {1}
    assert answers[0][0]["seconds"] == 4.5
    assert {a[1]["choice"] for a in answers} == {0, 2}
    assert {a[2]["choice"] for a in answers} == {None}


def test_a_file_named_simulated_marks_all_its_participants(tmp_path):
    path = tmp_path / "simulated-responses.csv"
    path.write_text(EXPORT + "q0,ab12,audio,1,1,0,0,0,1,false\nq1,simulated-7,audio,1,1,0,0,0,2,false\n")
    responses = csv_import.read_responses(path, QUESTIONS, "audio")
    assert responses["participant"].to_pylist() == ["simulated-ab12", "simulated-7"]
    assert csv_import.is_simulated(responses["participant"].to_pylist(), "x")


def test_simulated_participants_are_recognized():
    assert csv_import.is_simulated(["simulated-001", "simulated-002"], "x")
    assert not csv_import.is_simulated(["a1b2"], "x")
    assert not csv_import.is_simulated([], "x")

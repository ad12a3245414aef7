"""What the terminal shows of Snakemake's messages."""

import logging
from types import SimpleNamespace

import pytest
from snakemake.logging import DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from pipeline.snakemake import messages
from pipeline.snakemake.messages import Messages, Mistakes


class Advisor:
    def memory_advice(self, rule, wildcards, asked_mb):
        return f"{rule} {wildcards['width']} {asked_mb}"


def record(text="", **about):
    made = logging.LogRecord("snakemake", logging.INFO, "", 0, text, (), None)
    vars(made).update(about)
    return made


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def call():
    """A formatter with its clock, and whether the call is interrupted."""
    made = SimpleNamespace(clock=Clock(), interrupted=False)
    made.shape = Messages(DefaultFormatter(), Advisor(), lambda: made.interrupted, made.clock)
    return made


STARTED = {
    "event": LogEvent.JOB_INFO,
    "jobid": 7,
    "rule_msg": "Training a at width 16",
    "reason": "",
    "wildcards": {"width": "16"},
    "resources": SimpleNamespace(mem_mb=1016),
}
FAILED = {
    "event": LogEvent.JOB_ERROR,
    "rule_name": "train",
    "rule_msg": None,
    "jobid": 7,
    "input": [],
    "output": ["run.json"],
    "log": [],
    "conda_env": None,
    "shellcmd": "python scripts/train.py",
    "aux": {},
}


def progress(done, total):
    return record(event=LogEvent.PROGRESS, done=done, total=total)


def test_progress_has_the_time_left_and_the_logs(call):
    call.shape.format(record(**STARTED))
    call.clock.now = 60.0
    assert call.shape.format(progress(5, 25)) == (
        "5 of 25 steps (20%) done in 1:00, about 4:00 left if the others take as long; "
        "a log of each job is in logs/"
    )
    assert "left" not in call.shape.format(progress(1, 25))
    assert call.shape.format(progress(25, 25)) == "25 of 25 steps (100%) done in 1:00"


def test_the_end_names_all_jobs_that_failed_for_good(call):
    end = record("WorkflowError:\nAt least one job did not complete successfully.", event=LogEvent.ERROR)
    call.shape.format(record(**STARTED))
    for job in (FAILED | {"log": ["logs/a.log"]}, FAILED | {"jobid": 8}, FAILED | {"jobid": 9}):
        call.shape.format(record(**job))
    call.shape.format(record("Finished", event=LogEvent.JOB_FINISHED, job_id=9))
    assert call.shape.format(end) == (
        "Error: 2 jobs have failed, and what needs it was not made:\n"
        "  Training a at width 16  logs/a.log\n  train\n"
        "What is done is kept; once the cause is mended the same call goes on."
    )


def test_of_a_long_command_the_start_is_shown(call):
    command = f"python scripts/draw.py --context '{'x' * 4000}'"
    shown = call.shape.format(record(**FAILED | {"shellcmd": command}))
    assert f"{command[:300]} ... (all of it in .snakemake/log)\n" in shown
    assert len(shown) < 700


def test_a_job_takes_one_line_at_its_end(call):
    for event, text in ((LogEvent.JOB_FINISHED, "Finished jobid: 3"), (LogEvent.JOB_STARTED, "Execute")):
        assert call.shape.format(record(text, event=event)) == ""
    assert call.shape.format(record("Select jobs to execute...")) == ""
    assert call.shape.format(record("Nothing to be done")) == "Nothing to be done"


def fail(call, ending):
    call.shape.format(record(**STARTED))
    text = f"RuleException:\nCalledProcessError in file rules/train.smk\nCommand 'python' {ending}."
    assert call.shape.format(record(text, event=LogEvent.ERROR, exception="RuleException")) == ""
    return call.shape.format(record("Error in rule train", **FAILED))


@pytest.mark.parametrize(
    "ending", ["died with <Signals.SIGKILL: 9>", "returned non-zero exit status 137"]
)
def test_killed_for_memory_says_what_to_lower(call, ending, monkeypatch):
    counted = messages._kills_for_memory()
    monkeypatch.setattr(messages, "_kills_for_memory", lambda: counted + 1)
    text = fail(call, ending)
    assert "message: killed (SIGKILL). Since this call began the system has killed 1 for want" in text
    assert "train 16 1016" in text
    assert "None" not in text


def test_killed_by_somebody_is_told_apart(call, monkeypatch):
    counted = call.shape._kills
    monkeypatch.setattr(messages, "_kills_for_memory", lambda: counted)
    assert "so somebody may have done it" in fail(call, "died with <Signals.SIGKILL: 9>")


def test_other_failures_say_how_they_ended(call):
    text = fail(call, "returned non-zero exit status 1")
    assert "message: the command returned non-zero exit status 1\n" in text
    assert "run.json" in text


def test_errors_of_no_command_are_shown_as_they_are(call):
    text = "MissingOutputException in rule train"
    assert call.shape.format(record(text, event=LogEvent.ERROR, exception="RuleException")) == text


def test_an_interrupted_call_says_little(call):
    call.interrupted = True
    shown = [
        call.shape.format(one)
        for one in (
            record("Terminating processes on user request, this might take some time."),
            record("RuleException", event=LogEvent.ERROR, exception="RuleException"),
            record("Error in rule train", **FAILED),
            record("At least one job did not complete successfully."),
            record("Complete log(s): /a"),
        )
    ]
    assert [text for text in shown if text] == [
        "Interrupted. Trainings save and stop; the same call goes on from there.",
        "Complete log(s): /a",
    ]


def test_the_counter_of_the_system_is_read(tmp_path):
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 12\noom_kill 3\nother 4\n")
    assert messages._kills_for_memory(counters) == 3
    assert messages._kills_for_memory(tmp_path / "none") == 0


PLACE = ' in file "/p/Snakefile", line 29'
TRACE = '\n  File "/p/Snakefile", line 29, in <module>\n  File "/p/scripts/a.py", line 7, in prepare'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"WorkflowError{PLACE}:\ntwo mistakes:\na: b{TRACE}", "Error: two mistakes:\na: b"),
        ("WorkflowError:\nAt least one job failed.", "Error: At least one job failed."),
        (
            f"InputFunctionException in rule draw{PLACE}:\nError:\n  WorkflowError:\n    there is no a\n"
            f"    but b\nWildcards:\n  figure=a\nTraceback:{TRACE} (rule draw, line 1, /p/r.smk)",
            "Error: there is no a\nbut b",
        ),
        (
            "MissingRuleException:\nNo rule to produce figurs (if you use input functions make sure "
            "that they don't raise unexpected exceptions).",
            "Error: nothing makes figurs; nearest valid name: figures; make without a target lists what "
            "there is",
        ),
        (f"KeyError{PLACE}:\n'a'{TRACE}", f"KeyError{PLACE}:\n'a'{TRACE}"),
    ],
    ids=["settings", "end", "unknown figure", "unknown target", "a fault of the code"],
)
def test_a_mistake_is_told_without_where_the_code_has_found_it(text, shown):
    shape = Mistakes(DefaultFormatter(), lambda: ["figures", "claims"])
    assert shape.format(record(text, event=LogEvent.ERROR)) == shown
    assert shape.format(record(text)) == text

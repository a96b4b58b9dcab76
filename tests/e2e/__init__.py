"""Journeys through the product as it is started and used."""

from playwright.sync_api import expect

from tests.waiting import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)
